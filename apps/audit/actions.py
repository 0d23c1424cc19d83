"""Writes and checks the audit log. No audit, no act: the line is in the act's transaction."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import connection, models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.audit.models import FIRST, AuditEvent, AuditHead
from apps.tenants.scope import current_tenant_id
from calm_engine.errors import InternalError

if TYPE_CHECKING:
    from apps.accounts.models import User

PROOF = timedelta(days=1)
# Every act pays for these two: one way to the database each. The names are our own models'.
LOCK = (
    "SELECT id, sequence, digest, set_config('synchronous_commit', 'off', true)"  # noqa: S608 ours
    f" FROM {AuditHead._meta.db_table} FOR UPDATE"
)
FIELDS = AuditEvent._meta.concrete_fields
APPEND = (
    f"WITH line AS (INSERT INTO {AuditEvent._meta.db_table}"  # noqa: S608 ours
    f" ({', '.join(str(field.column) for field in FIELDS)})"
    f" VALUES ({', '.join('%s' for _ in FIELDS)}))"
    f" UPDATE {AuditHead._meta.db_table} SET sequence = %s, digest = %s, seal = %s WHERE id = %s"
)
PLAIN = (str, int, float, bool, type(None))


def record(
    action: str,
    resource: models.Model | None,
    *,
    by: User | None,
    outcome: str = "ok",
    **facts: object,
) -> AuditEvent:
    """Write one line, inside the caller's transaction and tenant scope; call it last.

    It holds the tenant's lock until commit, since each line follows the one before. Facts are ids,
    numbers and short words, never the text of a document, a prompt or a reply.
    Raises InternalError("audit.no_tenant") outside a tenant scope.
    """
    tenant_id = current_tenant_id()
    if tenant_id is None or not connection.in_atomic_block:
        raise InternalError("audit.no_tenant", "An act was audited outside a tenant scope.")
    head = locked_head(tenant_id)
    line = AuditEvent(
        tenant_id=tenant_id,
        sequence=head.sequence + 1,
        at=timezone.now(),
        by_id=by.pk if by else None,
        action=action,
        resource_type=resource._meta.model_name or "" if resource else "",
        resource_id=str(resource.pk) if resource else "",
        resource_name=str(resource)[:200] if resource else "",
        outcome=outcome,
        facts={name: plain(value) for name, value in facts.items()},
        previous=head.digest,
    )
    line.digest = line.digest_now()
    line.seal = line.seal_now()
    head.sequence, head.digest = line.sequence, line.digest
    head.seal = head.seal_now()
    append(line, head)
    return line


def is_proved_today(action: str, resource: models.Model | None = None) -> bool:
    """Whether the log has a line of this act, on this resource, that is no older than a day.

    What runs by itself and finds nothing to do leaves one such line a day: proof that it looked.
    """
    lines = AuditEvent.objects.filter(action=action, at__gt=Now() - models.Value(PROOF))
    return lines.filter(resource_id=str(resource.pk) if resource else "").exists()


def append(line: AuditEvent, head: AuditHead) -> None:
    """Write the line and move the mark to it."""
    values = [field.get_db_prep_save(field.pre_save(line, True), connection) for field in FIELDS]
    with connection.cursor() as cursor:
        cursor.execute(APPEND, [*values, head.sequence, head.digest, head.seal, head.pk])


def locked_head(tenant_id: UUID) -> AuditHead:
    """Where the chain ends, with the tenant's lock held: nobody else appends until we commit.

    The commit then does not wait for the disk; that is waited for right afterwards, with no lock
    held. Else each act of a tenant would wait once for every act before it; this way many share one
    wait, and whoever acted is still answered only after it. What a failing machine loses is then an
    end of the log with all its acts, none of which anybody was told had happened.
    """
    if not any(wait_for_the_disk in each for each in connection.run_on_commit):
        transaction.on_commit(wait_for_the_disk)
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
        found = cursor.fetchone()
    if found is None:
        return begun_head(tenant_id)
    return AuditHead(pk=found[0], tenant_id=tenant_id, sequence=found[1], digest=found[2])


def wait_for_the_disk() -> None:
    """Until everything committed so far lies on disk: a commit of nothing, which does wait."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_logical_emit_message(true, 'audit', '')")


def begun_head(tenant_id: UUID) -> AuditHead:
    """The mark of a log that has none, made by one transaction alone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 7))", [str(tenant_id)])
    found: AuditHead | None = AuditHead.objects.select_for_update().first()
    if found is not None:
        return found
    last = AuditEvent.objects.order_by("-sequence").first()
    at, digest = (last.sequence, last.digest) if last else (0, FIRST)
    head = AuditHead(tenant_id=tenant_id, sequence=at, digest=digest)
    head.seal = head.seal_now()
    head.save()
    if last is None:
        return head
    # Written by an older version, or somebody removed the mark: the log itself says so for ever.
    record("audit.head_lost", None, by=None, outcome="warning", sequence=last.sequence)
    written: AuditHead = AuditHead.objects.get()
    return written


def plain(value: object) -> object:
    """The fact as JSON can hold it."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else str(value)


def faults() -> Iterator[str]:
    """What is wrong with the log of the tenant in scope, one sentence each; nothing when whole."""
    previous, expected = FIRST, 1
    for line in AuditEvent.objects.order_by("sequence").iterator(chunk_size=1000):
        if line.sequence != expected:
            yield f"Lines {expected} to {line.sequence - 1} are missing."
        elif line.previous != previous:
            yield f"Line {line.sequence} does not follow the line before it."
        if line.digest != line.digest_now():
            yield f"Line {line.sequence} was changed after it was written."
        elif not hmac.compare_digest(line.seal, line.seal_now()):
            yield f"Line {line.sequence} was not sealed with this installation's key."
        previous, expected = line.digest, line.sequence + 1
    yield from faults_of_the_end(expected - 1, previous)


def faults_of_the_end(count: int, digest: str) -> Iterator[str]:
    """Whether the log ends where it ended last; a cut leaves a whole chain, only a shorter one."""
    head = AuditHead.objects.first()
    if head is None:
        if count:
            yield "The mark of where the log ends is missing."
    elif not hmac.compare_digest(head.seal, head.seal_now()):
        yield "The mark of where the log ends was not sealed with this installation's key."
    elif head.sequence > count:
        yield f"Lines {count + 1} to {head.sequence}, the newest, are missing."
    elif (head.sequence, head.digest) != (count, digest):
        yield f"The log should end with line {head.sequence}, and does not."
