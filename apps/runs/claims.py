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

from apps.runs.models import Run

# The first few of each tenant stand for all: so many workers may claim at once without one of them
# finding only rows that the others have locked.
FRONT = 4
HALF_LIFE_DAYS = 1.0  # of what a tenant has taken: who was idle for a week owes and is owed nothing

# A tenant's turn is the sooner the less of its share it has taken; a run that works now counts for
# one lease, so that free slots are not all given to whoever took least so far.
CLAIM = """
WITH allowed AS MATERIALIZED (
    SELECT tenant.id,
           (coalesce(share.spent, 0)
              * power(0.5, extract(epoch FROM now() - coalesce(share.spent_at, now()))
                           / %(half_life)s)
            + %(lease_seconds)s * (SELECT count(*) FROM runs_run AS busy
                                    WHERE busy.tenant_id = tenant.id AND busy.state = 'running'))
           / coalesce(share.weight, 1) AS served
      FROM tenants_tenant AS tenant
      LEFT JOIN runs_share AS share ON share.tenant_id = tenant.id
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
), front AS MATERIALIZED (
    SELECT first.*, allowed.served
      FROM allowed CROSS JOIN LATERAL (
           SELECT waiting.id, waiting.priority, waiting.created_at
             FROM runs_run AS waiting
            WHERE waiting.tenant_id = allowed.id AND waiting.queue = %(queue)s
              AND waiting.state = 'queued' AND waiting.pause_requested_at IS NULL
              AND waiting.device_bytes <= %(memory)s
            ORDER BY waiting.priority, waiting.created_at, waiting.id
            LIMIT %(front)s) AS first
)
UPDATE runs_run SET state = 'running', epoch = epoch + 1, attempts = attempts + 1,
       owner = %(slot)s, lease_until = now() + %(lease)s
 WHERE state = 'queued' AND id = (
       SELECT run.id FROM front JOIN runs_run AS run ON run.id = front.id
        WHERE run.state = 'queued' AND run.pause_requested_at IS NULL
        ORDER BY front.served, front.priority, front.created_at, front.id
          FOR UPDATE OF run SKIP LOCKED LIMIT 1)
RETURNING id, tenant_id, epoch
"""
EXPIRED = """
SELECT id, tenant_id, epoch FROM runs_run WHERE state = 'running' AND lease_until < now()
"""
WAITING = """
SELECT EXISTS (SELECT 1 FROM runs_run
                WHERE state = 'queued' AND queue = %(queue)s AND pause_requested_at IS NULL)
"""
# Rows of other tenants count and stay unseen: a position in a queue is a number.
AHEAD = """
SELECT count(*) FROM runs_run
 WHERE state = 'queued' AND queue = %(queue)s AND pause_requested_at IS NULL AND created_at < %(at)s
"""
RESERVED = """
SELECT held.ends_at FROM runs_reservation AS held
 WHERE held.slot = ANY(%(slots)s) AND held.tenant_id <> %(tenant)s
   AND now() >= held.starts_at AND now() < held.ends_at
 ORDER BY held.ends_at
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
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE app_dispatch")
        yield cursor
        cursor.execute("RESET ROLE")  # for an outer transaction; otherwise the commit does it


def claim(queue: str, slot: str, *, memory: int = NO_LIMIT) -> Claimed | None:
    """Take the next waiting run of this queue for a slot, or None. Two never get the same.

    memory   bytes of the slot's accelerator: runs that need more are left to another
    """
    facts = _clock() | {"queue": queue, "slot": slot, "memory": memory, "front": FRONT}
    facts |= {"lease": lease(), "lease_seconds": lease().total_seconds()}
    with dispatching() as cursor:
        cursor.execute(CLAIM, facts)
        row = cursor.fetchone()
    return Claimed(*row) if row else None


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


def ahead_of(run: Run) -> int:
    """How many runs, of whatever tenant, have waited longer in its queue."""
    with dispatching() as cursor:
        cursor.execute(AHEAD, {"queue": run.queue, "at": run.created_at})
        return int(cursor.fetchone()[0])


def reserved_until(slots: list[str], tenant_id: UUID | None) -> list[Any]:
    """When each of these slots that others have reserved now is free again, soonest first."""
    with dispatching() as cursor:
        cursor.execute(RESERVED, {"slots": slots, "tenant": tenant_id})
        return [row[0] for row in cursor.fetchall()]


def charge(tenant_id: UUID, seconds: float) -> None:
    """Put accelerator seconds on the account of the tenant in scope."""
    with connection.cursor() as cursor:
        cursor.execute(CHARGE, _clock() | {"tenant": tenant_id, "seconds": seconds})
