"""What happens right now, for pages that watch: loss is allowed, the row is the truth.

Publish/subscribe for progress, Valkey streams for replies that a reload must find again, and the
server-sent events that carry both. Every key begins with the tenant. Knows no model and no page.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import cache
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import redis
import redis.asyncio
import structlog
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection, connections
from django.http import StreamingHttpResponse

from calm_engine.errors import InternalError
from counterpoint.database import current_tenant_id

log = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

HEARTBEAT_SECONDS = 15.0
STREAM_SECONDS = 3600  # a reply can be read again for an hour; after that its row has the text
STREAM_LENGTH = 20_000
PATIENCE = 3.0  # seconds for one answer of the broker


def broker() -> redis.asyncio.Redis:
    """A client for a reader that waits until its heartbeat is due, or for one write.

    Its socket waits longer than the reader: the library's own five seconds would break each stream
    on which nothing is said for so long.
    """
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL, socket_timeout=HEARTBEAT_SECONDS + PATIENCE, socket_connect_timeout=2
    )


def quick() -> redis.Redis:
    """The client for counts and news on the way of other work, which waits a second at most.

    All threads share it and its connections: a new one takes longer than the count.
    """
    return _quick(settings.REDIS_URL)


@cache
def _quick(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)


def key(topic: str, tenant_id: UUID | None = None) -> str:
    """The topic under its tenant. Raises InternalError("live.no_tenant") outside a scope."""
    found = tenant_id or current_tenant_id.get()
    if found is None:
        raise InternalError("live.no_tenant", "A live topic was used outside a tenant scope.")
    return f"t:{found}:{topic}"


def publish(topic: str, event: dict[str, Any]) -> None:
    """Tell whoever watches this topic of the tenant in scope. Never fails: loss is allowed."""
    try:
        quick().publish(key(topic), json.dumps(event, default=str))
    except redis.RedisError as error:
        log.warning("live.unpublished", topic=topic, error=type(error).__name__)


async def listen(topic: str) -> AsyncIterator[dict[str, Any] | None]:
    """Events of a topic of the tenant in scope, as they come; None after 15 s of silence."""
    name = key(topic)
    async with broker() as client, client.pubsub() as watched:
        await watched.subscribe(name)
        while True:
            message = await watched.get_message(
                ignore_subscribe_messages=True, timeout=HEARTBEAT_SECONDS
            )
            if message is not None:
                yield json.loads(message["data"])
            else:
                yield None


async def append(stream: str, event: dict[str, Any]) -> str:
    """Add an event to a stream of the tenant in scope; its id, which a reader may resume from."""
    name = key(stream)
    async with (
        asyncio.timeout(PATIENCE),
        broker() as client,
        client.pipeline(transaction=False) as both,
    ):
        both.xadd(name, {"e": json.dumps(event)}, maxlen=STREAM_LENGTH, approximate=True)
        both.expire(name, STREAM_SECONDS)
        added, _ = await both.execute()
    return str(added.decode())


async def follow(
    stream: str, after_id: str = "0"
) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
    """Events of a stream after this id: old ones first, then as they come.

    After 15 s of silence it yields the last id and None. The reader closes the iterator when it
    has read the end, which only the reader knows.
    """
    name, after = key(stream), after_id or "0"
    async with broker() as client:
        while True:
            wait = int(HEARTBEAT_SECONDS * 1000)
            found: Any = await client.xread({name: after}, count=200, block=wait)
            if not found:
                yield after, None
                continue
            for raw, fields in found[0][1]:
                after = raw.decode()
                yield after, json.loads(fields[b"e"])


async def apart(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Run this on a thread of its own, and give its database connection back.

    A stream may last minutes; a connection that it held all the while would be one too few.
    """

    def run() -> T:
        try:
            return function(*args, **named)
        finally:
            connection.close()

    return await asyncio.to_thread(run)


def sse(event: str, data: object, id: str | None = None) -> bytes:  # noqa: A002  the field's name
    """One server-sent event; data as JSON, which holds no line break."""
    mark = f"id: {id}\n" if id else ""
    return f"{mark}event: {event}\ndata: {json.dumps(data, default=str)}\n\n".encode()


HEARTBEAT = b": still here\n\n"


def let_go() -> None:
    """Give the request's connection back: a stream lasts, and the server has a hundred of them."""
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()


def sse_response(events: AsyncIterator[bytes]) -> StreamingHttpResponse:
    """An event stream that no proxy buffers or keeps; the generator is closed with the client."""

    async def body() -> AsyncIterator[bytes]:
        await sync_to_async(let_go)()
        async with aclosing(events) as open_events:  # type: ignore[type-var]  # generators have aclose
            yield HEARTBEAT  # headers leave at once, and the page knows that it is connected
            async for event in open_events:
                yield event

    return StreamingHttpResponse(
        body(),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
