"""`migrate`, as the role that owns the tables. The runtime role owns nothing and may not."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import connections

from calm_engine.errors import InputError
from counterpoint.release import FORMER
from counterpoint.watch import schema

# What app_owner makes, app_rw may use; what is sealed (the audit log) takes rights back.
GRANTS = """
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app_rw;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO app_rw;
"""
WORKING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = %s"
)


class Command(migrate.Command):
    """Migrates through the owner's login, whatever alias is asked for."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        told = "take the database back to what the former release knows; what came since is dropped"
        parser.add_argument("--back", action="store_true", help=told)

    def handle(self, *args: Any, back: bool = False, **options: Any) -> str | None:
        if "owner" not in settings.DATABASES:
            raise CommandError("Set DATABASE_OWNER_URL: only the owner of the tables may migrate.")
        options["database"] = "owner"
        try:
            schema.compare(connections["owner"]).require_no_newer()
        except InputError as error:
            raise CommandError(error.message) from error
        with connections["owner"].cursor() as cursor:
            # Two releases that migrate at once take turns; who waits too long gives up.
            cursor.execute("SET lock_timeout = '60s'")
            cursor.execute("SELECT pg_advisory_lock(hashtext('counterpoint.migrate'))")
            cursor.execute(GRANTS)
            # A migration that waits for a lock makes every request behind it wait as well.
            cursor.execute("SET lock_timeout = '10s'")
        if back:
            self._refuse_while_people_work()
            for app, name in FORMER.items():
                super().handle(*args, **options | {"app_label": app, "migration_name": name})
            return None
        result: str | None = super().handle(*args, **options)
        return result

    def _refuse_while_people_work(self) -> None:
        """Processes of this release would write into columns that are on their way out."""
        connections["default"].close()  # our own
        with connections["owner"].cursor() as cursor:
            cursor.execute(WORKING, [settings.DATABASES["default"]["USER"]])
            working = cursor.fetchone()[0]
        if working:
            raise CommandError(
                f"{working} connections of web, workers, timer or hosts are open. Stop them first."
            )
