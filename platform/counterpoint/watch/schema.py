"""Whether the database fits the code: what it lacks, what a newer release did, its clock."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from calm_engine.errors import InputError

Name = tuple[str, str]  # app, migration


@dataclass(frozen=True)
class Fit:
    """pending: this code needs them; ahead: the database has them and this code knows them not."""

    pending: tuple[str, ...]
    ahead: tuple[str, ...]

    @property
    def fault(self) -> str:
        """Why this code must not be started on this database; empty when it may."""
        if self.ahead:
            return f"the database is of a newer release ({self.ahead[-1]})"
        return self.lack

    @property
    def lack(self) -> str:
        """Why a process of this code may take no visitors; empty when it may.

        A database that went ahead is none: nothing starts on it, and what had started before goes
        on until the newer release takes over, whose migrations only add.
        """
        return f"{len(self.pending)} migrations are pending" if self.pending else ""

    def require_no_newer(self) -> None:
        """Raises InputError("database.newer")."""
        if self.ahead:
            raise InputError(
                "database.newer",
                f"The database was migrated by a newer release ({', '.join(self.ahead[-3:])}). "
                "Install that release again, or restore the backup taken before the upgrade.",
                migrations=self.ahead,
            )


def compare(database: BaseDatabaseWrapper) -> Fit:
    """Compare what is applied with what the code knows. Raises DatabaseError."""
    return fit(applied(database))


def applied(database: BaseDatabaseWrapper) -> list[str]:
    """The migrations of a database, as "app.name". Raises DatabaseError."""
    return list(_told(set(MigrationLoader(database).applied_migrations)))


def fit(names: Iterable[str]) -> Fit:
    """Whether a database with these migrations fits the code. Needs no database."""
    done: set[Name] = {(app, name) for app, _, name in (each.partition(".") for each in names)}
    known = set(MigrationLoader(None).disk_migrations)
    apps = {app for app, _ in known}
    # An app that was taken out of the code leaves rows behind: no sign of a newer release.
    ahead = {name for name in done - known if name[0] in apps}
    return Fit(_told(known - done), _told(ahead))


def _told(names: set[Name]) -> tuple[str, ...]:
    return tuple(f"{app}.{migration}" for app, migration in sorted(names))


def clock_offset(database: BaseDatabaseWrapper) -> float:
    """Seconds that the database's clock is ahead of ours, to half the time of one question."""
    before = time.time()
    with database.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        theirs = float(cursor.fetchone()[0])
    return theirs - (before + time.time()) / 2
