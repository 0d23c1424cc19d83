"""What happens right now reaches whoever watches, of the same tenant, and only then."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
import redis.asyncio

from calm_engine.errors import InternalError
from counterpoint import live
from counterpoint.database import current_tenant_id


@pytest.fixture
def tenant() -> Iterator[uuid.UUID]:
    found = uuid.uuid4()
    token = current_tenant_id.set(found)
    yield found
    current_tenant_id.reset(token)


async def first(events: AsyncIterator[Any], count: int) -> list[Any]:
    found = []
    async with asyncio.timeout(10), aclosing(events) as open_events:
        async for event in open_events:
            found.append(event)
            if len(found) == count:
                break
    return found


def test_an_event_reaches_who_listens(tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.2)

    async def scene() -> list[Any]:
        heard = asyncio.create_task(first(live.listen("run:1"), 3))
        async with asyncio.timeout(10):
            while not heard.done():  # nobody tells when a listener is ready, and loss is allowed
                await asyncio.to_thread(live.publish, "run:1", {"step": 7})
                await asyncio.sleep(0.05)
        return [event for event in heard.result() if event is not None]

    assert {"step": 7} in asyncio.run(scene())


def test_another_tenant_hears_nothing_but_the_heartbeat(
    tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.3)

    async def scene() -> list[Any]:
        heard = asyncio.create_task(first(live.listen("run:1"), 2))
        await asyncio.sleep(0.1)
        current_tenant_id.set(uuid.uuid4())
        for _ in range(8):
            await asyncio.to_thread(live.publish, "run:1", {"step": 7})
            await asyncio.sleep(0.05)
        return await heard

    assert asyncio.run(scene()) == [None, None]


def test_a_reader_that_comes_late_or_again_misses_nothing(tenant: uuid.UUID) -> None:
    async def scene() -> tuple[list[Any], list[Any]]:
        ids = [await live.append("reply:1", {"text": word}) for word in ("one", "two", "three")]
        whole = await first(live.follow("reply:1"), 3)
        rest = await first(live.follow("reply:1", ids[0]), 2)
        assert [place for place, _ in whole] == ids
        return whole, rest

    whole, rest = asyncio.run(scene())
    assert [event["text"] for _, event in whole] == ["one", "two", "three"]
    assert [event["text"] for _, event in rest] == ["two", "three"]


def test_silence_is_a_heartbeat(tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.05)
    assert asyncio.run(first(live.follow("reply:none"), 2)) == [("0", None), ("0", None)]


def test_silence_longer_than_the_librarys_patience_breaks_no_stream(
    tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = redis.asyncio.Redis().connection_pool.connection_kwargs["socket_timeout"]
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", patience + 0.5)
    assert asyncio.run(first(live.follow("reply:none"), 1)) == [("0", None)]


def test_outside_a_tenant_there_is_no_topic() -> None:
    with pytest.raises(InternalError, match=r"live\.no_tenant"):
        live.publish("run:1", {})


def test_an_event_is_one_block_whatever_it_holds() -> None:
    told = live.sse("token", {"text": "two\nlines"}, "7-0")
    assert told == b'id: 7-0\nevent: token\ndata: {"text": "two\\nlines"}\n\n'


def test_a_stream_is_neither_kept_nor_buffered_and_closes_with_its_reader() -> None:
    closed = []

    async def events() -> AsyncIterator[bytes]:
        try:
            while True:
                yield live.sse("state", 1)
        finally:
            closed.append(True)

    async def scene() -> list[bytes]:
        response = live.sse_response(events())
        assert response["Cache-Control"] == "no-store"
        assert response["X-Accel-Buffering"] == "no"
        body = aiter(response)
        found = [await anext(body) for _ in range(3)]
        with suppress(StopAsyncIteration):
            await body.aclose()
        response.close()
        return found

    assert asyncio.run(scene())[0] == live.HEARTBEAT
    assert closed
