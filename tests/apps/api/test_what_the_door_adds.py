"""What the site costs between a reader and the model: milliseconds of a stream, memory of many.

Judged on a machine that has nothing else to do.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest

from apps.accounts.models import ApiKey
from apps.chat.actions import ask, open_conversation
from apps.registry.models import Composition
from apps.tenants.scope import tenant_scope
from counterpoint.env import internal_secret
from tests.apps.chat.making import MODEL, Server
from tests.browser.conftest import Site, session_of
from tests.browser.conftest import site as running_site
from tests.cast import Cast

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
site = running_site

STREAMS, AT_ONCE, SETTLED = 500, 20, 20.0  # seconds
PAIRS, TOKENS = 120, 40
FIRST, NEXT, MEMORY = 10.0, 1.0, 200.0  # ms, ms, MB


@pytest.fixture
def process(site: Site) -> psutil.Process:
    """The site's own process."""
    port = site.address.rpartition(":")[2]
    return next(each for each in psutil.Process().children() if port in each.cmdline())


# ---- a stream ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heard:
    """Milliseconds until the first token of a stream, and between two of the later ones."""

    first: float
    later: float


def heard(client: httpx.Client, address: str, secret: str) -> Heard:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Where is it made?"}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
    }
    began = time.perf_counter()
    with client.stream(
        "POST",
        f"{address}/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {secret}"},
    ) as answer:
        times = [time.perf_counter() for _ in tokens(answer)]
    return Heard(1000 * (times[0] - began), 1000 * (times[-1] - times[0]) / (len(times) - 1))


def tokens(answer: httpx.Response) -> Iterator[str]:
    assert answer.status_code == 200, answer.read()
    for line in answer.iter_lines():
        if '"content":' in line:
            yield line


def test_a_stream_comes_hardly_later_through_the_site(
    site: Site, model: Composition, server: Server, key: tuple[ApiKey, str]
) -> None:
    inner = internal_secret().read_text(encoding="utf-8").strip()
    ways = {"site": (site.address, key[1]), "model": (server.address, inner)}
    found: dict[str, list[Heard]] = {name: [] for name in ways}
    with httpx.Client(trust_env=False, timeout=60) as client:
        for _ in range(PAIRS):  # in turn, so that a busy moment meets both
            for name, (address, secret) in ways.items():
                found[name].append(heard(client, address, secret))
    first = added([one.first for one in found["site"]], [one.first for one in found["model"]])
    later = added([one.later for one in found["site"]], [one.later for one in found["model"]])
    print(f"the site adds {first:.1f} ms to a first token, {later:.2f} ms to a later one, p95")  # noqa: T201
    assert first <= FIRST
    assert later <= NEXT


def added(through: list[float], straight: list[float]) -> float:
    """How much later the 95th percentile is."""
    return statistics.quantiles(through, n=20)[-1] - statistics.quantiles(straight, n=20)[-1]


# ---- many streams --------------------------------------------------------------------------------


def test_many_idle_streams_weigh_little(
    cast: Cast, site: Site, process: psutil.Process, model: Composition
) -> None:
    with tenant_scope(cast.north):
        reply = ask(open_conversation(MODEL, by=cast.bo), "Nobody carries this.", by=cast.bo)
    address = f"{site.address}/chat/messages/{reply.pk}/events"
    cookies = {"sessionid": session_of(cast.bo)}
    told = asyncio.run(held(address, cookies, process))
    line = "{streams} idle streams: {megabytes:.0f} MB, {cpu:.2f} cores"
    print(line.format(**told))  # noqa: T201
    assert told["megabytes"] < MEMORY


async def held(address: str, cookies: dict[str, str], process: psutil.Process) -> dict[str, Any]:
    """What the site weighs more with so many streams open, and what it does meanwhile."""
    limits = httpx.Limits(max_connections=STREAMS + 10)
    door, opened = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(0)
    async with httpx.AsyncClient(cookies=cookies, limits=limits, timeout=120) as client:
        await one_look(client, address)  # what the first stream alone needs is not counted
        before = process.memory_full_info().uss
        readers = [asyncio.create_task(stay(client, address, door, opened)) for _ in range(STREAMS)]
        for _ in readers:
            await opened.acquire()
        busy, began = sum(process.cpu_times()[:2]), time.monotonic()
        await asyncio.sleep(SETTLED)
        cpu = (sum(process.cpu_times()[:2]) - busy) / (time.monotonic() - began)
        weight = process.memory_full_info().uss - before
        for each in readers:
            if each.done():
                each.result()  # why it ended
        for each in readers:
            each.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    return {"streams": len(readers), "megabytes": weight / 1e6, "cpu": cpu}


async def one_look(client: httpx.AsyncClient, address: str) -> None:
    async with client.stream("GET", address) as answer:
        assert answer.status_code == 200


async def stay(
    client: httpx.AsyncClient, address: str, door: asyncio.Semaphore, opened: asyncio.Semaphore
) -> None:
    await door.acquire()
    async with client.stream("GET", address) as answer:
        assert answer.status_code == 200
        door.release()
        opened.release()
        async for _line in answer.aiter_lines():
            pass
