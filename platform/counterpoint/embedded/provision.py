"""Roles, rights and the database, made by the superuser once. Repeating it changes nothing."""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import sql

OWNER, RUNTIME, DISPATCH, SYSTEM, BACKUP = (
    "app_owner",
    "app_rw",
    "app_dispatch",
    "app_system",
    "app_backup",
)
DATABASE = "counterpoint"
EXTENSIONS = ("vector", "pg_trgm")

# LOGIN for those who connect; nobody but the superuser itself is one or makes roles.
ROLES: dict[str, LiteralString] = {
    OWNER: "LOGIN NOSUPERUSER NOBYPASSRLS CREATEDB",  # makes the tests' databases as well
    RUNTIME: "LOGIN NOSUPERUSER NOBYPASSRLS",
    DISPATCH: "NOLOGIN NOSUPERUSER NOBYPASSRLS",
    SYSTEM: "NOLOGIN NOSUPERUSER NOBYPASSRLS",
    BACKUP: "LOGIN NOSUPERUSER BYPASSRLS",
}
RIGHTS: tuple[LiteralString, ...] = (
    "GRANT pg_read_all_data TO app_backup",
    # Reached by SET LOCAL ROLE for one transaction, never held by default.
    "GRANT app_dispatch TO app_rw WITH INHERIT FALSE, SET TRUE",
    "GRANT app_system TO app_owner WITH INHERIT FALSE, SET TRUE",
)


def provision(superuser: str, passwords: dict[str, str]) -> None:
    """Bring roles, template and database to what the product expects."""
    with psycopg.connect(superuser, dbname="template1", autocommit=True) as template:
        for role, rights in ROLES.items():
            make_role(template, role, rights, passwords.get(role))
        for right in RIGHTS:
            template.execute(right)
        # In the template, so that databases made for tests have them without a superuser.
        for extension in EXTENSIONS:
            template.execute(
                sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension))
            )
        template.execute("GRANT USAGE ON SCHEMA public TO app_rw, app_dispatch, app_system")
    with psycopg.connect(superuser, dbname="postgres", autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
        if found.fetchone() is None:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(OWNER)
                )
            )


def make_role(
    connection: psycopg.Connection[tuple[object, ...]],
    role: str,
    rights: LiteralString,
    password: str | None,
) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    verb = sql.SQL("ALTER ROLE {}" if known else "CREATE ROLE {}").format(sql.Identifier(role))
    secret = sql.SQL(" PASSWORD {}").format(sql.Literal(password)) if password else sql.SQL("")
    connection.execute(sql.Composed([verb, sql.SQL(" " + rights), secret]))
