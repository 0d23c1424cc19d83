"""What rows, broker and disk say right now, as figures. One process tells it: the timer.

Read at each scrape, kept for a few seconds, and never a reason to fail: what cannot be read is told
as an engine that is down.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection, connections, transaction
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from apps.registry import placements
from apps.registry.models import Placement
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from counterpoint.celery import EXPIRES
from counterpoint.watch import schema, successes

KEPT_SECONDS = 5.0  # several readers, or an impatient one, cost one look
RUNS = "SELECT queue, state, count(*) FROM runs_run GROUP BY queue, state"
OLDEST = """
    SELECT queue, coalesce(extract(epoch FROM now() - min(created_at)), 0)
    FROM runs_run WHERE state = 'queued' GROUP BY queue
"""
EXPIRED = "SELECT count(*) FROM runs_run WHERE state = 'running' AND lease_until < now()"


def gauge(name: str, told: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"counterpoint_{name}", told, labels=labels)


class State(Collector):
    """All of it, read at once."""

    def __init__(self) -> None:
        self._read_at = 0.0
        self._found: list[Metric] = []

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would read everything when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        if time.monotonic() - self._read_at > KEPT_SECONDS:
            self._found = [*database(), *broker(), *disk(), *backups()]
            self._read_at = time.monotonic()
        yield from self._found


def database() -> Iterator[Metric]:
    up = gauge("database_up", "1 when the database answers")
    try:
        found = [*runs(), *models(), *migrations(), *clock()]
        up.add_metric([], 1)
    except DatabaseError:
        found = []
        up.add_metric([], 0)
    finally:
        connections.close_all()  # a reading thread leaves no session behind
    yield up
    yield from found


def runs() -> list[Metric]:
    counted = gauge("runs", "Runs of all tenants by queue and state", "queue", "state")
    oldest = gauge("run_oldest_waiting_seconds", "Age of the run that waits longest", "queue")
    expired = gauge("runs_expired", "Runs whose worker is lost and that nobody has given back")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE app_dispatch")
        cursor.execute(RUNS)
        for queue, state, count in cursor.fetchall():
            counted.add_metric([queue, state], count)
        cursor.execute(OLDEST)
        for queue, age in cursor.fetchall():
            oldest.add_metric([queue], float(age))
        cursor.execute(EXPIRED)
        expired.add_metric([], cursor.fetchone()[0])
        cursor.execute("RESET ROLE")
    return [counted, oldest, expired]


def models() -> list[Metric]:
    wanted = gauge(
        "models_wanted", "Compositions that a live alias names and that do not sleep, and embedders"
    )
    served = gauge("models_served", "Of these, how many a model server answers for")
    serving: set[Any] = set()
    asleep: set[Any] = set()
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            rows: Any = Placement.objects.all()
            found = rows.serving().values_list("composition_id", "embedder_id")
            serving |= {pk for pair in found for pk in pair if pk is not None}
            sleeping = rows.filter(state=Placement.State.ASLEEP)
            asleep |= set(sleeping.values_list("composition_id", flat=True))
    asked = {each.row_id for each in placements.wanted()} - (asleep - serving)
    wanted.add_metric([], len(asked))
    served.add_metric([], len(asked & serving))
    return [wanted, served]


def migrations() -> list[Metric]:
    found = schema.compare(connection)
    pending = gauge("migrations_pending", "Migrations that the database lacks")
    ahead = gauge("migrations_ahead", "Migrations of a newer release than this one")
    pending.add_metric([], len(found.pending))
    ahead.add_metric([], len(found.ahead))
    return [pending, ahead]


def clock() -> list[Metric]:
    offset = gauge("clock_offset_seconds", "The database's clock minus ours")
    offset.add_metric([], schema.clock_offset(connection))
    return [offset]


def broker() -> Iterator[Metric]:
    up = gauge("broker_up", "1 when Valkey or Redis answers")
    waiting = gauge("queue_messages", "Messages that wait for a worker", "queue")
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2) as client:
            for queue in sorted(EXPIRES):
                waiting.add_metric([queue], float(client.llen(queue)))
        up.add_metric([], 1)
    except redis.RedisError:
        up.add_metric([], 0)
    yield from (up, waiting)


def disk() -> Iterator[Metric]:
    free = gauge("home_free_bytes", "Free on the volume of documents, weights and runs")
    size = gauge("home_size_bytes", "Size of that volume")
    found = shutil.disk_usage(settings.HOME)
    free.add_metric([], found.free)
    size.add_metric([], found.total)
    yield from (free, size)


def backups() -> Iterator[Metric]:
    """Of the last backup and of the last proof of one; nothing while there was none."""
    for name, told in (("backup", "backup that ended well"), ("verify", "proof of a backup")):
        last = successes.last(Path(settings.HOME), name)
        at = gauge(f"{name}_last_success_timestamp_seconds", f"When the last {told} ended")
        at.add_metric([], float(last.get("at", 0)))
        took = gauge(f"{name}_last_seconds", f"How long the last {told} took")
        took.add_metric([], float(last.get("seconds", 0)))
        yield from (at, took)
