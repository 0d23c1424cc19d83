"""A site as the former release left it: a database of its migrations, and a home folder.

Rows are made by today's code and written over column by column: a column that the former release
did not know stays behind. What it wrote in another form is said by whoever hands the rows over.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from django.conf import settings
from psycopg import sql

from counterpoint.embedded.supervisor import SUPERUSER
from counterpoint.env import home_folder
from counterpoint.release import FORMER
from tests.conftest import KEEP, ROOT

ENGINES = home_folder()  # of the tests' own
Row = dict[str, Any]
Forms = dict[str, Callable[[Row], Row]]  # by table: a row as the former release wrote it
MIGRATE = """
import sys, django
from django.core.management import call_command
django.setup()
from django.db.migrations.loader import MigrationLoader
former = dict(word.split("=") for word in sys.argv[1:])
for app, name in MigrationLoader(None).graph.leaf_nodes():
    call_command("migrate", app, former.get(app, name), verbosity=0)
"""
TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname <> ALL(%s) ORDER BY 1
"""
COLUMNS = """
    SELECT column_name FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'
"""
COUNTERS = """
    SELECT table_name, column_name FROM information_schema.columns
     WHERE table_schema = 'public' AND is_identity = 'YES'
"""


@dataclass(frozen=True)
class Site:
    """A database and a home folder of its own, on the tests' engines and under their keys."""

    home: Path
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """For processes of this site."""
        return os.environ | {
            "COUNTERPOINT_HOME": str(self.home),
            "DATABASE_URL": self._there("DATABASE_URL"),
            "DATABASE_OWNER_URL": self._there("DATABASE_OWNER_URL"),
            "REDIS_URL": urlsplit(settings.REDIS_URL)._replace(path="/7").geturl(),
            "AUDIT_KEY": settings.AUDIT_KEY,
            "SITE_KEY": settings.SITE_KEY,
            "SECRET_KEY": settings.SECRET_KEY,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")]),
            "COUNTERPOINT_SERVE_THREADS": "1",
        }

    def _there(self, variable: str) -> str:
        return urlsplit(os.environ[variable])._replace(path=f"/{self.name}").geturl()

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`counterpoint` with these words."""
        return self._run("-m", "counterpoint.operate", *words)

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )

    def migrate_to_former(self) -> None:
        """An empty database to what the former release had made of it."""
        done = self._run("-c", MIGRATE, *(f"{app}={name}" for app, name in FORMER.items()))
        assert done.returncode == 0, done.stderr

    def rows(self) -> dict[str, list[Row]]:
        """Every row of every table that holds some, as JSON."""
        with psycopg.connect(superuser(self.name)) as there:
            return everything(there)

    def ask(self, question: str, *facts: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(superuser(self.name)) as there:
            return there.execute(question.encode(), facts).fetchall()

    def take_over(self, forms: Forms) -> None:
        """The rows of the tests' own database, as they stand at this moment."""
        with psycopg.connect(superuser(settings.DATABASES["default"]["NAME"])) as here:
            found = everything(here)
        with psycopg.connect(superuser(self.name)) as there:
            there.execute("SET session_replication_role = replica")  # in any order
            for (table,) in there.execute(TABLES, [list(KEEP)]).fetchall():
                written = forms.get(table, dict)
                _write(there, table, [written(row) for row in found.get(table, [])])
            for table, column in there.execute(COUNTERS).fetchall():
                _count_on(there, table, column)


def superuser(database: str) -> str:
    """A login to a database of the tests' engines whom row-level security does not bind."""
    there = urlsplit(os.environ["DATABASE_OWNER_URL"])._replace(path=f"/{database}")
    return superuser_of(there.geturl(), ENGINES)


def superuser_of(url: str, home: Path) -> str:
    """The same database under the login that made its engine, whose home this is."""
    there = urlsplit(url)
    secret = json.loads((home / "engine-passwords.json").read_text())[SUPERUSER]
    return there._replace(netloc=f"{SUPERUSER}:{secret}@{there.hostname}:{there.port}").geturl()


def everything(database: psycopg.Connection[tuple[Any, ...]]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for (table,) in database.execute(TABLES, [list(KEEP)]).fetchall():
        asked = sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier(table))
        if rows := [row for (row,) in database.execute(asked)]:
            found[table] = rows
    return found


def _write(database: psycopg.Connection[tuple[Any, ...]], table: str, rows: list[Row]) -> None:
    known = [sql.Identifier(name) for (name,) in database.execute(COLUMNS, [table]).fetchall()]
    written = sql.SQL(
        "INSERT INTO {0} ({1}) OVERRIDING SYSTEM VALUE"
        " SELECT {1} FROM jsonb_populate_record(NULL::{0}, %s)"
    ).format(sql.Identifier(table), sql.SQL(", ").join(known))
    with database.cursor() as cursor:
        cursor.executemany(written, [[json.dumps(row)] for row in rows])


def _count_on(database: psycopg.Connection[tuple[Any, ...]], table: str, column: str) -> None:
    counted = sql.SQL(
        "SELECT setval(pg_get_serial_sequence({}, {}), coalesce(max({}), 0) + 1, false) FROM {}"
    ).format(table, column, sql.Identifier(column), sql.Identifier(table))
    database.execute(counted)


@contextmanager
def former_site(folder: Path) -> Iterator[Site]:
    """An installation of the former release with nothing in it; gone at the end."""
    site = Site(folder, f"former_{uuid4().hex[:8]}")
    folder.mkdir(mode=0o711)
    # The superuser: an owner may end nobody else's sessions, which linger where processes are gone.
    with psycopg.connect(superuser("postgres"), autocommit=True) as maker:
        named = sql.Identifier(site.name)
        maker.execute(sql.SQL("CREATE DATABASE {} OWNER app_owner").format(named))
        try:
            site.migrate_to_former()
            yield site
        finally:
            maker.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(named))
