"""System checks: a wrong or dangerous setting, each with an id and a hint. Decides no setting."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from calm_engine.errors import InputError
from counterpoint.sitekeys import FileKeys

DANGEROUS = """
    SELECT rolsuper, rolbypassrls, coalesce((
        SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
          AND pg_has_role(current_user, c.relowner, 'MEMBER')), '')
    FROM pg_roles WHERE rolname = current_user
"""


def role_is_harmless(login: BaseDatabaseWrapper) -> list[CheckMessage]:
    """What is wrong with a login that should be bound by row-level security and cannot lift it.

    Raises DatabaseError when the database does not answer.
    """
    with login.cursor() as cursor:
        cursor.execute(DANGEROUS)
        superuser, bypasses, owned = cursor.fetchone()
    found: list[CheckMessage] = []
    if superuser:
        found.append(
            Error(
                "DATABASE_URL logs in as a superuser, for whom tenants are not kept apart.",
                hint="Log in as app_rw; see docs/operate/ for the roles.",
                id="counterpoint.E001",
            )
        )
    if bypasses:
        found.append(
            Error(
                "DATABASE_URL logs in as a role that bypasses row-level security.",
                hint="Log in as app_rw: ALTER ROLE ... NOBYPASSRLS.",
                id="counterpoint.E002",
            )
        )
    if owned and not superuser:
        found.append(
            Error(
                f"DATABASE_URL logs in as an owner of tables ({owned[:120]}).",
                hint="Log in as app_rw; the owner's login belongs in DATABASE_OWNER_URL.",
                id="counterpoint.E003",
            )
        )
    return found


@checks.register(checks.Tags.security)
def database_role(**_: Any) -> list[CheckMessage]:
    """Every command is refused under a dangerous role; a database that is away endangers nobody."""
    if not settings.ENGINES_KNOWN:
        return []
    try:
        return role_is_harmless(connection)
    except DatabaseError:
        return []


@checks.register(checks.Tags.compatibility)
def engines_known(**_: Any) -> list[CheckMessage]:
    """Addresses of both engines, given or embedded."""
    if settings.ENGINES_KNOWN:
        return []
    if settings.EMBEDDED == "never":
        return [
            Error(
                "DATABASE_URL or REDIS_URL is not set, and COUNTERPOINT_EMBEDDED is never.",
                hint="Give the addresses of PostgreSQL and of Valkey or Redis.",
                id="counterpoint.E004",
            )
        ]
    return [
        checks.Warning(
            f"No engines are running for {settings.HOME}.",
            hint="Start them: python -m counterpoint.embedded, or set DATABASE_URL and REDIS_URL.",
            id="counterpoint.W001",
        )
    ]


@checks.register(checks.Tags.staticfiles)
def assets_built(**_: Any) -> list[CheckMessage]:
    """The browser's scripts and styles exist: without them no page can be drawn."""
    manifest = Path(str(settings.DJANGO_VITE["default"]["manifest_path"]))
    if manifest.is_file():
        return []
    return [
        checks.Warning(
            f"The browser assets are not built: {manifest} is missing.",
            hint="Run `make setup`, or `npm ci && npm run build` in platform/frontend.",
            id="counterpoint.W002",
        )
    ]


@checks.register(checks.Tags.security)
def site_key_is_given(**_: Any) -> list[CheckMessage]:
    """What wraps the tenants' data keys is there and well formed. Vault itself is not asked."""
    if settings.SITE_KEYS == "vault":
        missing = [name for name in ("VAULT_ADDR", "VAULT_TOKEN") if not getattr(settings, name)]
        fault = f"SITE_KEYS is vault, and {' and '.join(missing)} is not set." if missing else ""
    else:
        try:
            FileKeys(settings.SITE_KEY)
        except InputError as error:
            fault = error.message
        else:
            fault = ""
    hint = "See docs/operate/keys.md."
    return [Error(fault, hint=hint, id="counterpoint.E005")] if fault else []


def refuse_a_dangerous_start() -> None:
    """End a serving process that must not serve: no engines known, or a dangerous role.

    An unreachable database is no refusal: it may come back, and `readyz` says so meanwhile.
    """
    found = [*engines_known(), *database_role(), *site_key_is_given()]
    if not found:
        return
    for each in found:
        sys.stderr.write(f"{each.id}: {each.msg}\n  {each.hint}\n")
    raise SystemExit(78)  # EX_CONFIG: a supervisor need not try again
