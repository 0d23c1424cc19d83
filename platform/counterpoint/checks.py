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
from counterpoint import bucket, bucketblobs, installed_keys
from counterpoint.sitekeys import FileKeys
from counterpoint.watch import schema

UNFINISHED = "restore-unfinished"  # in the home folder, while a restore is under way
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


@checks.register(checks.Tags.security)
def keys_are_the_same(**_: Any) -> list[CheckMessage]:
    """The keys that this installation began with: others would harm what is kept under them."""
    return [
        Error(
            f"{name} is not the key that this installation began with.",
            hint="Give the former key. If the change is meant, read docs/operate/backup.md first.",
            id="counterpoint.E006",
        )
        for name in installed_keys.compare()
    ]


@checks.register(checks.Tags.compatibility)
def restore_is_finished(**_: Any) -> list[CheckMessage]:
    """Nothing serves from a home folder that is half restored."""
    if not (Path(settings.HOME) / UNFINISHED).exists():
        return []
    return [
        Error(
            "A restore into this home folder began and did not end.",
            hint="Run `counterpoint restore` again: it begins anew.",
            id="counterpoint.E007",
        )
    ]


@checks.register(checks.Tags.compatibility)
def files_are_in_the_bucket(**_: Any) -> list[CheckMessage]:
    """Where a bucket is named, no document is left behind in the home folder."""
    if not settings.S3_BUCKET or not bucketblobs.left_at_home(Path(settings.HOME)):
        return []
    return [
        Error(
            "S3_BUCKET is set, and stored files still lie in the home folder.",
            hint="Bring them over: `counterpoint manage to_bucket`. Nobody looks for them here.",
            id="counterpoint.E010",
        )
    ]


def bucket_is_usable() -> list[CheckMessage]:
    """A bucket that refuses us is noticed before a document is; one that is away may come back."""
    fault = bucket.may_be_used()
    if not isinstance(fault, InputError):
        return []
    hint = "See docs/operate/storage.md: the key must read, write, list and delete in the bucket."
    return [Error(fault.message, hint=hint, id="counterpoint.E009")]


def database_is_not_newer() -> list[CheckMessage]:
    """A database that a newer release has changed is left alone; `migrate` says so by itself."""
    if not settings.ENGINES_KNOWN:
        return []
    try:
        ahead = schema.compare(connection).ahead
    except DatabaseError:
        return []
    if not ahead:
        return []
    return [
        Error(
            f"The database was migrated by a newer release ({', '.join(ahead[-3:])}).",
            hint="Run that release, or restore the backup taken before the upgrade.",
            id="counterpoint.E008",
        )
    ]


def refuse_a_dangerous_start() -> None:
    """End a serving process that must not serve.

    No engines known, a dangerous role, another key, half a restore, a newer database, a bucket that
    refuses us or lacks what the home folder still holds.

    An unreachable engine is no refusal: it may come back, and `readyz` says so meanwhile.
    """
    found = [*engines_known(), *database_role(), *site_key_is_given(), *keys_are_the_same()]
    found += [*restore_is_finished(), *database_is_not_newer()]
    found += [*files_are_in_the_bucket(), *bucket_is_usable()]
    if not found:
        return
    for each in found:
        sys.stderr.write(f"{each.id}: {each.msg}\n  {each.hint}\n")
    raise SystemExit(78)  # EX_CONFIG: a supervisor need not try again
