"""Whether the database fits the code: what it lacks, what a newer release did, whose clock is off."""

from __future__ import annotations

import time
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
        """Why this code must not serve from this database; empty when it may."""
        if self.ahead:
            return f"the database is of a newer release ({self.ahead[-1]})"
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
    loader = MigrationLoader(database, ignore_no_initial=True)
    known = set(loader.disk_migrations)
    apps = {app for app, _ in known}
    applied = set(loader.applied_migrations)
    # An app that was taken out of the code leaves rows behind: no sign of a newer release.
    ahead = {name for name in applied - known if name[0] in apps}
    pending = set(loader.graph.nodes) - applied
    return Fit(_told(pending), _told(ahead))


def _told(names: set[Name]) -> tuple[str, ...]:
    return tuple(f"{app}.{migration}" for app, migration in sorted(names))


def clock_offset(database: BaseDatabaseWrapper) -> float:
    """Seconds that the database's clock is ahead of ours, to half the time of one question."""
    before = time.time()
    with database.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        theirs = float(cursor.fetchone()[0])
    return theirs - (before + time.time()) / 2
