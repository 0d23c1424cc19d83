"""Two hundred people watch one run on the real site: what that costs, and how soon they know."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from django.db.models.functions import Now

from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from counterpoint.database import current_tenant_id
from counterpoint.live import publish
from tests.apps.runs.making import make_run
from tests.browser.conftest import Site, session_of
from tests.browser.conftest import site as running_site
from tests.cast import Cast

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
PAGES, SECONDS = 200, 20
AT_ONCE = 20  # people do not open a page in the same millisecond
site = running_site


@pytest.fixture
def server(site: Site) -> psutil.Process:
    """The site's own process."""
    port = site.address.rpartition(":")[2]
    return next(each for each in psutil.Process().children() if port in each.cmdline())


def transactions() -> int:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        row = owner.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database "
            "WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        return int(row[0])


def test_many_watch_for_little(cast: Cast, site: Site, server: psutil.Process) -> None:
    with tenant_scope(cast.north):
        run = make_run(cast.ada)
        Run.objects.update(
            state="running", owner="here", lease_until="2100-01-01T00:00Z", heartbeat_at=Now()
        )
    cookies = {"sessionid": session_of(cast.ada)}
    told = asyncio.run(watch(cast, site, server, run, cookies))
    line = "{cpu:.2f} cores, {queries:.3f} transactions a page and second, {late:.2f} s p95 late"
    print(line.format(**told))  # noqa: T201  the figures of docs/benchmarks/runs.md
    assert told["pages"] == PAGES
    assert told["cpu"] < 1.0
    assert told["queries"] < 1.0
    assert told["late"] < 2.0


async def watch(
    cast: Cast, site: Site, server: psutil.Process, run: Run, cookies: dict[str, str]
) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=PAGES + 10)
    seen: dict[int, list[float]] = {}
    async with httpx.AsyncClient(cookies=cookies, limits=limits, timeout=120) as client:
        address = f"{site.address}/runs/{run.pk}/events"
        door = asyncio.Semaphore(AT_ONCE)
        readers = [asyncio.create_task(read(client, address, seen, door)) for _ in range(PAGES)]
        sent = await told_until(cast, run, seen, PAGES)  # every page is there
        busy, asked, began = cpu(server), transactions(), time.monotonic()
        for step in range(1000, 1000 + SECONDS):
            sent[step] = time.monotonic()
            await asyncio.to_thread(tell, cast, run, step)
            await asyncio.sleep(1.0)
        took = time.monotonic() - began
        cost, queries = cpu(server) - busy, transactions() - asked
        for each in readers:
            each.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    late = [at - sent[step] for step, times in seen.items() if step >= 1000 for at in times]
    heard = [len(times) for step, times in seen.items() if 1000 <= step < 1000 + SECONDS - 2]
    return {
        "pages": min(heard),
        "cpu": cost / took,
        "queries": queries / PAGES / took,
        "late": statistics.quantiles(late, n=20)[-1],
    }


async def read(
    client: httpx.AsyncClient, address: str, seen: dict[int, list[float]], door: asyncio.Semaphore
) -> None:
    await door.acquire()
    async with client.stream("GET", address) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        await anext(lines)
        door.release()
        async for line in lines:
            if line.startswith("id: "):
                seen.setdefault(int(line[4:]), []).append(time.monotonic())


async def told_until(
    cast: Cast, run: Run, seen: dict[int, list[float]], pages: int
) -> dict[int, float]:
    """Tell a number again and again until every page has heard one."""
    for step in range(1, 120):
        await asyncio.to_thread(tell, cast, run, step)
        await asyncio.sleep(1.0)
        if len(seen.get(step, [])) >= pages:
            return {}
    pytest.fail(f"only {max(map(len, seen.values()), default=0)} of {pages} pages listen")


def cpu(server: psutil.Process) -> float:
    used = server.cpu_times()
    return used.user + used.system


def tell(cast: Cast, run: Run, step: int) -> None:
    token = current_tenant_id.set(cast.north.pk)
    try:
        publish(f"run:{run.pk}", {"rows": [[step, "loss", 0.5]]})
    finally:
        current_tenant_id.reset(token)
