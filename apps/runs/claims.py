"""Which run works next, and where: the one place of scheduling. Knows no engine and no page.

Across tenants the share decides, inside a tenant its priority, then age. The clock is the
database's. All of it runs under the dispatcher's role, which sees the scheduling columns of every
tenant and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from apps.runs import sharing

HALF_LIFE_DAYS = 1.0  # of what a tenant has taken: who was idle for a week owes and is owed nothing

# A tenant's turn is the sooner the less of its share it has taken; a run that works now counts for
# one lease, so that free slots are not all given to whoever took least so far. Tenants are put in
# order first, by one look each at the index `run_front`; then the first row that nobody else holds
# is locked, tenant by tenant. So the cost follows the tenants that wait, never the runs. Statistics
# from before a rush would have it gather a tenant's rows and sort them ("there is but one"):
# `dispatching` refuses sorting wherever an index has the order. Equal turns go by age.
CLAIM = """
WITH turn AS MATERIALIZED (
    SELECT tenant.id AS tenant_id,
           (coalesce(share.spent, 0)
              * power(0.5, extract(epoch FROM now() - coalesce(share.spent_at, now()))
                           / %(half_life)s)
            + %(lease_seconds)s * (SELECT count(*) FROM runs_run AS busy
                                    WHERE busy.tenant_id = tenant.id AND busy.state = 'running'))
           / coalesce(share.weight, 1) AS served,
           oldest.created_at
      FROM tenants_tenant AS tenant
      LEFT JOIN runs_share AS share ON share.tenant_id = tenant.id
     CROSS JOIN LATERAL (
           SELECT waiting.created_at
             FROM runs_run AS waiting
            WHERE waiting.tenant_id = tenant.id AND waiting.queue = %(queue)s
              AND waiting.state = 'queued' AND waiting.pause_requested_at IS NULL
            ORDER BY waiting.priority, waiting.created_at, waiting.id LIMIT 1) AS oldest
     WHERE (share.minutes IS NULL
            OR share.month IS DISTINCT FROM
               date_trunc('month', now() AT TIME ZONE %(zone)s)::date
            OR share.month_seconds < share.minutes * 60)
       AND (share.quiet_from IS NULL OR NOT CASE
            WHEN share.quiet_from <= share.quiet_until
            THEN (now() AT TIME ZONE %(zone)s)::time >= share.quiet_from
             AND (now() AT TIME ZONE %(zone)s)::time < share.quiet_until
            ELSE (now() AT TIME ZONE %(zone)s)::time >= share.quiet_from
              OR (now() AT TIME ZONE %(zone)s)::time < share.quiet_until END)
       AND NOT EXISTS (
            SELECT 1 FROM runs_reservation AS held
             WHERE held.slot = %(slot)s AND held.tenant_id <> tenant.id
               AND now() >= held.starts_at AND now() < held.ends_at)
     ORDER BY served, oldest.created_at, tenant.id
)
UPDATE runs_run SET state = 'running', epoch = epoch + 1, attempts = attempts + 1,
       owner = %(slot)s, lease_until = now() + %(lease)s
 WHERE id = (
       SELECT next.id FROM turn CROSS JOIN LATERAL (
              SELECT waiting.id FROM runs_run AS waiting
               WHERE waiting.tenant_id = turn.tenant_id AND waiting.queue = %(queue)s
                 AND waiting.state = 'queued' AND waiting.pause_requested_at IS NULL
                 AND waiting.device_bytes <= %(memory)s
               ORDER BY waiting.priority, waiting.created_at, waiting.id
                 FOR UPDATE SKIP LOCKED LIMIT 1) AS next
        LIMIT 1)
RETURNING id, tenant_id, epoch
"""
EXPIRED = """
SELECT id, tenant_id, epoch FROM runs_run WHERE state = 'running' AND lease_until < now()
"""
WAITING = """
SELECT EXISTS (SELECT 1 FROM runs_run
                WHERE state = 'queued' AND queue = %(queue)s AND pause_requested_at IS NULL)
"""
CHARGE = """
INSERT INTO runs_share AS share (id, tenant_id, weight, spent, spent_at, month, month_seconds)
VALUES (gen_random_uuid(), %(tenant)s, 1, %(seconds)s, now(),
        date_trunc('month', now() AT TIME ZONE %(zone)s)::date, %(seconds)s)
ON CONFLICT (tenant_id) DO UPDATE SET
       spent = share.spent * power(0.5, extract(epoch FROM now() - share.spent_at) / %(half_life)s)
               + excluded.spent,
       spent_at = now(),
       month_seconds = excluded.month_seconds
               + CASE WHEN share.month = excluded.month THEN share.month_seconds ELSE 0 END,
       month = excluded.month
"""
# Up to PostgreSQL 17 the sort that no index spares (of turns) looks dear enough to compile for.
DISPATCHING = "SET LOCAL ROLE app_dispatch; SET LOCAL enable_sort = off; SET LOCAL jit = off"
DISPATCHED = "RESET ROLE; RESET enable_sort; RESET jit"
NO_LIMIT = 2**62  # bytes: a slot whose memory nobody has told takes every run


@dataclass(frozen=True)
class Claimed:
    """One attempt at one run; `epoch` is its right to write."""

    run_id: UUID
    tenant_id: UUID
    epoch: int


def lease() -> timedelta:
    return timedelta(seconds=float(settings.RUN_LEASE_SECONDS))


def _clock() -> dict[str, Any]:
    return {"zone": settings.TIME_ZONE, "half_life": HALF_LIFE_DAYS * 86_400}


@contextmanager
def dispatching() -> Iterator[Any]:
    """A cursor that sees the scheduling columns of every tenant's runs, and nothing else."""
    is_inner = connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(DISPATCHING)
        yield cursor
        if is_inner:  # otherwise the commit does it
            cursor.execute(DISPATCHED)


def claim(queue: str, slot: str, *, memory: int = NO_LIMIT) -> Claimed | None:
    """Take the next waiting run of this queue for a slot, or None. Two never get the same.

    memory   bytes of the slot's accelerator: runs that need more are left to another
    A slot that a model host holds is left to it, or asked for, as `runs.sharing` says.
    """
    with dispatching() as cursor:
        held = sharing.locked(cursor, slot)
        room = sharing.room_for_training(held, memory)
        if room is None:  # chat has the device: the run goes on waiting
            if _is_wanted(cursor, asked(queue, slot, memory)):
                sharing.ask_for_training(cursor, slot)
            return None
        cursor.execute(CLAIM, asked(queue, slot, room))
        row = cursor.fetchone()
        if row is not None and held.training_asks:
            sharing.forget_that_training_asked(cursor, slot)
    return Claimed(*row) if row else None


def _is_wanted(cursor: Any, facts: dict[str, Any]) -> bool:
    """Whether a run would be claimed: it is, and that is taken back."""
    with transaction.atomic():
        cursor.execute(CLAIM, facts)
        is_found = cursor.fetchone() is not None
        transaction.set_rollback(True)
    return is_found


def asked(queue: str, slot: str, memory: int = NO_LIMIT) -> dict[str, Any]:
    """What CLAIM is given."""
    facts = _clock() | {"queue": queue, "slot": slot, "memory": memory}
    return facts | {"lease": lease(), "lease_seconds": lease().total_seconds()}


def cost_of_claim(queue: str, slot: str) -> tuple[float, int]:
    """Milliseconds of the server, and the pages it looks at, for a claim that is taken back."""
    with transaction.atomic():
        with dispatching() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {CLAIM}", asked(queue, slot))
            told = cursor.fetchone()[0][0]
        transaction.set_rollback(True)
    plan = told["Plan"]
    return told["Execution Time"], plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def is_waiting(queue: str) -> bool:
    """Whether any tenant has a run waiting in this queue."""
    with dispatching() as cursor:
        cursor.execute(WAITING, {"queue": queue})
        return bool(cursor.fetchone()[0])


def expired() -> list[Claimed]:
    """The attempts whose lease has run out, of every tenant."""
    with dispatching() as cursor:
        cursor.execute(EXPIRED)
        return [Claimed(*row) for row in cursor.fetchall()]


def charge(tenant_id: UUID, seconds: float) -> None:
    """Put accelerator seconds on the account of the tenant in scope."""
    with connection.cursor() as cursor:
        cursor.execute(CHARGE, _clock() | {"tenant": tenant_id, "seconds": seconds})
