"""What a queue looks like now, of whatever tenant: who is ahead, what works, which slots are held.

Rows of other tenants count and stay unseen: what comes of them is a number. All of it is one query,
under the dispatcher's role. Knows no page, and claims nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.runs.claims import dispatching
from apps.runs.expecting import HISTORY, Ahead, Pace, Working
from apps.runs.models import Run
from apps.runs.states import Kind, State

FRESH = ", ".join(f"count(*) FILTER (WHERE step = 0 AND kind = '{kind}') OVER w" for kind in Kind)
# The queue is walked once, for however many runs of a page.
AHEAD = f"""
SELECT id, place, remaining, fresh FROM (
       SELECT id, row_number() OVER w - 1 AS place,
              coalesce(sum(used_seconds * greatest(total - step, 0) / step)
                       FILTER (WHERE step > 0) OVER w, 0)::float AS remaining,
              ARRAY[{FRESH}] AS fresh
         FROM runs_run WHERE state = 'queued' AND pause_requested_at IS NULL
       WINDOW w AS (PARTITION BY queue ORDER BY created_at, id
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS walked
 WHERE id = ANY(%(runs)s)
"""  # noqa: S608  kinds of ours alone
WORKING = """
SELECT owner, kind, used_seconds,
       greatest(0, eta_seconds
                   - extract(epoch FROM now() - coalesce(heartbeat_at, now())))::float AS left
  FROM runs_run WHERE state = 'running' AND queue = %(queue)s
"""
RESERVED = """
SELECT held.ends_at FROM runs_reservation AS held
 WHERE held.slot = ANY(%(slots)s) AND held.tenant_id <> %(tenant)s
   AND now() >= held.starts_at AND now() < held.ends_at
 ORDER BY held.ends_at
"""
# How long a run of each kind takes the tenant: the median of the last that it finished.
TYPICAL = """
SELECT kind, percentile_cont(0.5) WITHIN GROUP (ORDER BY used_seconds) AS seconds
  FROM (SELECT kind, used_seconds FROM runs_run
         WHERE tenant_id = %(tenant)s AND state = 'succeeded' AND used_seconds > 0
         ORDER BY created_at DESC LIMIT %(history)s) AS lately
 GROUP BY kind
"""
LOOK = f"""
SELECT (SELECT coalesce(json_agg(found), '[]') FROM ({AHEAD}) AS found),
       (SELECT coalesce(json_agg(found), '[]') FROM ({WORKING}) AS found),
       (SELECT coalesce(json_object_agg(kind, seconds), '{{}}') FROM ({TYPICAL}) AS found),
       ARRAY({RESERVED})
"""  # noqa: S608  constants of ours alone


@dataclass(frozen=True)
class Queue:
    """A queue as a waiting run meets it.

    ahead   of each run that was asked for and waits: what has waited longer
    reserved_until   when each slot that others have reserved now is free again, soonest first
    """

    ahead: Mapping[UUID, Ahead] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    reserved_until: Sequence[datetime] = ()


def look(queue: str, runs: Iterable[Run], *, slots: list[str], tenant_id: UUID | None) -> Queue:
    """A queue as these runs meet it; nothing is asked where none of them waits."""
    waiting = [run.pk for run in runs if run.state == State.QUEUED]
    if not waiting:
        return Queue()
    facts = {"queue": queue, "runs": waiting, "slots": slots, "tenant": tenant_id}
    with dispatching() as cursor:
        cursor.execute(LOOK, facts | {"history": HISTORY})
        ahead, working, typical, reserved = cursor.fetchone()
    return Queue(
        {UUID(each["id"]): _ahead(each) for each in ahead},
        Pace(
            [Working(e["owner"], e["kind"], e["used_seconds"], e["left"]) for e in working], typical
        ),
        reserved,
    )


def _ahead(told: Mapping[str, Any]) -> Ahead:
    fresh = dict(zip(Kind.values, told["fresh"], strict=True))
    return Ahead(told["place"], fresh, told["remaining"])
