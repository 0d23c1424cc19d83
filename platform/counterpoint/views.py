"""The probes: whether the process answers, whether its engines do, whether streams flow."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import loader
from django.views import defaults
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from calm_engine.errors import EngineError, InternalError
from counterpoint.bucket import bucket
from counterpoint.database import pool
from counterpoint.live import sse, sse_response
from counterpoint.watch import schema

STREAM_PAUSE = 0.2  # seconds


@require_safe
@never_cache
@transaction.non_atomic_requests
def healthz(_request: HttpRequest) -> HttpResponse:
    """The process answers. Never asks the database: an outage there must not restart the web."""
    return JsonResponse({"ok": True})


@require_safe
@never_cache
@transaction.non_atomic_requests
def readyz(_request: HttpRequest) -> HttpResponse:
    """Database, migrations, broker and bucket are there: only then a balancer sends people here."""
    found = {"database": database_fault(), "broker": broker_fault()}
    if settings.S3_BUCKET:
        found["files"] = bucket_fault()
    ready = not any(found.values())
    told = {name: fault or "ok" for name, fault in found.items()}
    return JsonResponse({"ok": ready, **told}, status=200 if ready else 503)


@require_safe
@never_cache
@transaction.non_atomic_requests
async def streamz(_request: HttpRequest) -> StreamingHttpResponse:
    """Three pieces with pauses between: who sees them arrive at once has a proxy that buffers."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield sse("piece", number)
            await asyncio.sleep(STREAM_PAUSE)

    return sse_response(pieces())


def broken(request: HttpRequest) -> HttpResponse:
    """What an error that nobody expected looks like; "come back soon" when it is only too busy."""
    error = sys.exception()
    is_away = isinstance(error, InternalError) and error.code == "bucket.away"
    if not is_away and not pool.is_exhausted(error):
        return defaults.server_error(request)
    busy = loader.get_template("503.html").render()
    return HttpResponse(
        busy, status=503, headers={"Retry-After": str(settings.DATABASE_POOL_SECONDS)}
    )


def database_fault() -> str:
    try:
        return schema.compare(connection).lack
    except DatabaseError as error:
        return f"unreachable ({type(error).__name__})"


def bucket_fault() -> str:
    try:
        if (found := bucket()) is not None:
            found.reach()
    except EngineError as error:
        return f"{error.code} ({error.facts.get('why', '')})"
    return ""


def broker_fault() -> str:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2) as broker:
            broker.ping()
    except redis.RedisError as error:
        return f"unreachable ({type(error).__name__})"
    return ""
