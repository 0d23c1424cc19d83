"""Deletes a tenant: its keys, then rows, files and what lies in Valkey; certified at the end.

Each part can be done twice. Killed anywhere it goes on when it is asked again: the tenant's own row
goes last, with the lines of its log and the people who belong nowhere else, and says until then
that the tenant is leaving.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from django.conf import settings
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone

from apps.accounts.models import ApiKey
from apps.audit.actions import record
from apps.audit.anchors import canonical, public_key, signing_key
from apps.audit.models import AuditHead, Hold
from apps.forgetting import leaving
from apps.forgetting.tables import counts, kept_by_their_owner, of_people, tables_of_tenants
from apps.registry.models import Placement
from apps.runs.models import Run
from apps.runs.states import ACTIVE, State
from apps.runs.wishes import ask_to_cancel
from apps.tenants.models import DataKey, Membership, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint import bucketblobs, env, keys, live
from counterpoint.disk import settle, writing_aside

MARK = "leaving"  # in the tenant's settings, from the moment its key is gone
PATIENCE = "30s"  # for the locks of the last step
NOT_COVERED = (
    "Backups from before: until they lapse, whoever holds BACKUP_KEY reads the rows and weights in "
    "them, and with SITE_KEY the files too; rewrap under a new site key and destroy the old one, "
    "and the files in them open no more. Copies taken out of this site. Lines of the audit log "
    "that were sent to collectors."
)


@dataclass(frozen=True)
class Found:
    """What there is of a tenant, and what stands in the way."""

    rows: dict[str, int]
    files: int
    bytes: int
    holds: list[str]
    running: int


def looked_at(tenant: Tenant) -> Found:
    """The dry run: numbers and names alone, nothing is touched."""
    with tenant_scope(tenant):
        held = Hold.objects.filter(lifted_at=None)
        standing = list(held.values_list("subject_name", flat=True))
        running = Run.objects.filter(state=State.RUNNING).count()
        rows = counts(tables_of_tenants(), tenant.pk)
    paths = [path for folder in folders(tenant) for path in folder.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in paths]
    sizes += [each.size for each in bucketblobs.of_tenant(tenant.pk)]
    return Found(rows, len(sizes), sum(sizes), standing, running)


def folders(tenant: Tenant) -> Iterator[Path]:
    """Every folder of the home folder that is this tenant's: blobs, runs, study, transfers."""
    for place in sorted(settings.HOME.iterdir()) if settings.HOME.is_dir() else ():
        if place.is_dir() and os.access(place, os.X_OK) and (place / str(tenant.pk)).is_dir():
            yield place / str(tenant.pk)


def delete(tenant: Tenant, certificate: Path) -> dict[str, Any]:
    """All of it. Returns what the certificate says, which is written before the last row goes.

    Raises InputError: "hold.stands", "leaving.unagreed", "leaving.busy", "leaving.exists".
    """
    env.owner_url()  # refused at once where the last step could not be done
    if MARK not in tenant.settings:
        if certificate.exists():
            raise InputError("leaving.exists", path=str(certificate))
        begin(tenant)
        tenant.refresh_from_db()
    told = dict(tenant.settings[MARK])
    drop_rows(tenant)
    told["files"] = told.get("files", 0) + drop_files(tenant)
    told["valkey_keys"] = drop_keys_of_valkey(tenant)
    done = finish(tenant, told, certificate)
    # What a request that had begun before wrote meanwhile; now that no row can be made, no more.
    drop_files(tenant)
    drop_keys_of_valkey(tenant)
    return done


def begin(tenant: Tenant) -> None:
    """Look whether it may be, shut the door, and destroy the key: from here there is no way back.

    One transaction: an agreement that is used up always means a key that is gone.
    """
    stop_runs(tenant)
    with tenant_scope(tenant):
        held = Tenant.objects.select_for_update().get(pk=tenant.pk)
        hold = Hold.objects.filter(lifted_at=None).select_related("placed_by").first()
        if hold is not None:
            until = hold.review_on.isoformat()
            name = hold.placed_by.name
            raise InputError("hold.stands", name=hold.subject_name, by=name, until=until)
        wish = leaving.agreement(leaving.DELETION, tenant)
        leaving.spend(wish)
        versions = list(DataKey.objects.values_list("version", flat=True))
        rows = counts(tables_of_tenants(), tenant.pk)
        record("tenant.delete", held, by=wish.asked_by, rows=sum(rows.values()))
        head: Any = AuditHead.objects.get()
        told = {
            "began_at": timezone.now().isoformat(timespec="seconds"),
            "agreed_by": str(wish.asked_by_id),
            "granted_by": str(wish.decided_by_id or ""),
            "keys_destroyed": sorted(versions),
            "rows": rows,
            "log": {"lines": head.sequence, "digest": head.digest},
            "people": [
                str(p) for p in Membership.objects.of(tenant).values_list("user", flat=True)
            ],
        }
        held.settings = held.settings | {MARK: told}
        held.save(update_fields=["settings"])
        ApiKey.objects.filter(tenant=tenant).delete()
        Membership.objects.of(tenant).delete()
        Placement.objects.all().delete()
        keys.shred()


def stop_runs(tenant: Tenant) -> None:
    """Raises InputError("leaving.busy") while a worker still has one of its runs in the hand."""
    with tenant_scope(tenant):
        for run in Run.objects.filter(state__in=ACTIVE):
            ask_to_cancel(run, by=None, discard=True)
        running = Run.objects.filter(state=State.RUNNING).count()
    if running:
        raise InputError("leaving.busy", runs=running)


def drop_rows(tenant: Tenant) -> None:
    """All rows but those that only the owner of their tables may remove; references wait."""
    tables = tables_of_tenants()
    with tenant_scope(tenant), connection.cursor() as cursor:
        for table in sorted(set(tables) - kept_by_their_owner(tables)):
            cursor.execute(f'DELETE FROM "{table}" WHERE tenant_id = %s', [tenant.pk])  # noqa: S608  a name of the catalogue


def drop_files(tenant: Tenant) -> int:
    """What the tenant has in the home folder and in the bucket; how many files there were."""
    files = 0
    for folder in folders(tenant):
        files += sum(1 for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder)
    return files + bucketblobs.drop_tenant(tenant.pk)


def drop_keys_of_valkey(tenant: Tenant) -> int:
    """Counters, streams of replies and whatever else begins with the tenant; how many."""
    client = live.quick()
    names = list(client.scan_iter(match=live.key("*", tenant.pk), count=1000))
    for name in names:
        client.unlink(name)
    return len(names)


def finish(tenant: Tenant, told: dict[str, Any], certificate: Path) -> dict[str, Any]:
    """The log, what it points at, the people of this tenant alone, and its own row: as the owner.

    Row-level security is lifted and the append-only triggers are off within this transaction
    alone, with the tables locked: nobody else ever sees them so.
    """
    tables = tables_of_tenants()
    mine = sorted(kept_by_their_owner(tables))
    owner = connections["owner"]
    with transaction.atomic(using="owner"), owner.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        for table in mine:
            cursor.execute(f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY')
            cursor.execute(f'ALTER TABLE "{table}" DISABLE TRIGGER USER')
        for table in mine:
            cursor.execute(f'DELETE FROM "{table}" WHERE tenant_id = %s', [tenant.pk])  # noqa: S608  as above
        cursor.execute("DELETE FROM tenants_tenant WHERE id = %s", [tenant.pk])
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # whatever is left refuses here
        people = {each: drop_person(each) for each in told.pop("people")}
        for table in mine:
            cursor.execute(f'ALTER TABLE "{table}" ENABLE TRIGGER USER')
            cursor.execute(f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY')
        told |= {
            "tenant": {"id": str(tenant.pk), "slug": tenant.slug, "name": tenant.name},
            "people_deleted": sorted(p for p, gone in people.items() if gone),
            "people_kept": sorted(p for p, gone in people.items() if not gone),
            "ended_at": timezone.now().isoformat(timespec="seconds"),
            "not_covered": NOT_COVERED,
            "key": public_key(),
        }
        write(certificate, told)
    return told


def drop_person(code: str) -> bool:
    """Delete a person who belongs to no other tenant; False when somebody still names them.

    Called as the owner, with references checked at once.
    """
    owner = connections["owner"]
    try:
        with transaction.atomic(using="owner"), owner.cursor() as cursor:
            cursor.execute("SELECT email FROM accounts_user WHERE id = %s", [code])
            found = cursor.fetchone()
            cursor.execute("SELECT 1 FROM tenants_membership WHERE user_id = %s", [code])
            if found is None or cursor.fetchone():
                return found is None
            for statement, value in what_goes_with(code, str(found[0])):
                cursor.execute(statement, [value])
    except DatabaseError:  # another tenant's log names them, or a service account they answer for
        return False
    return True


def what_goes_with(code: str, email: str) -> Iterator[tuple[str, str]]:
    """Statements that remove a person's sessions, factors and addresses, then the person."""
    sessions = "SELECT session_key FROM usersessions_usersession WHERE user_id = %s"
    yield f"DELETE FROM django_session WHERE session_key IN ({sessions})", code  # noqa: S608  words of ours
    for table in ("accesslog", "accessattempt", "accessfailurelog"):
        yield f"DELETE FROM axes_{table} WHERE username = %s", email  # noqa: S608  as above
    for table, column in of_people():
        yield f'DELETE FROM "{table}" WHERE "{column}" = %s', code  # noqa: S608  names of the catalogue
    yield "DELETE FROM accounts_user WHERE id = %s", code


def write(certificate: Path, told: dict[str, Any]) -> None:
    """Sign and store it, whole or not at all."""
    signature = base64.b64encode(signing_key().sign(canonical(told))).decode()
    text = json.dumps(told | {"signature": signature}, indent=2, sort_keys=True) + "\n"
    with writing_aside(certificate.parent) as (file, aside):
        file.write(text.encode())
        settle(file)
        aside.rename(certificate)


def is_certified(slug: str, certificate: Path) -> bool:
    """Whether this file, signed here, says that the tenant of this name is gone."""
    try:
        told = json.loads(certificate.read_text(encoding="utf-8"))
        signature = base64.b64decode(told.pop("signature"))
        signing_key().public_key().verify(signature, canonical(told))
        return bool(told["tenant"]["slug"] == slug)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidSignature):
        return False
