"""Counts requests: how many, how they ended, how long to their answer. Reads no content."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import iscoroutinefunction

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from calm_engine import traces
from counterpoint.watch import figures

Response = HttpResponseBase
Door = Callable[[HttpRequest], Response] | Callable[[HttpRequest], Awaitable[Response]]
PROBES = {"/healthz", "/readyz", "/streamz"}  # asked every few seconds, of interest to nobody
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@sync_and_async_middleware
def counted(get_response: Door) -> Door:
    """Outermost: it sees what every other middleware answers as well."""
    if iscoroutinefunction(get_response):

        async def door(request: HttpRequest) -> Response:
            began = time.perf_counter()
            with figures.UNDER_WAY.track_inprogress(), traced(request) as span:
                response: Response = await get_response(request)
                tell(span, request, response)
            count(request, response, time.perf_counter() - began)
            return response

        return door

    def plain_door(request: HttpRequest) -> Response:
        began = time.perf_counter()
        with figures.UNDER_WAY.track_inprogress(), traced(request) as span:
            response: Response = get_response(request)  # type: ignore[assignment]  # not a coroutine
            tell(span, request, response)
        count(request, response, time.perf_counter() - began)
        return response

    return plain_door


def traced(request: HttpRequest) -> AbstractContextManager[traces.Span]:
    """A trace of its own: what a browser says of traces is not believed."""
    if request.path in PROBES:
        return nullcontext(traces.Span(None))
    return traces.span("request", kind="server")


def tell(span: traces.Span, request: HttpRequest, response: Response) -> None:
    route = route_of(request)
    span.rename(route)
    tenant = getattr(request, "tenant", None)
    span.tell(
        http__request__method=request.method if request.method in METHODS else "other",
        http__route=route,
        http__response__status_code=response.status_code,
        counterpoint__tenant=str(tenant.pk) if tenant is not None else None,
    )
    if response.status_code >= 500:
        span.fail(str(response.status_code))


def count(request: HttpRequest, response: Response, seconds: float) -> None:
    route = route_of(request)
    method = request.method if request.method in METHODS else "other"
    figures.REQUESTS.labels(method, route, str(response.status_code)).inc()
    figures.SECONDS.labels(route).observe(seconds)
    tenant = getattr(request, "tenant", None)  # of a member; nobody makes a name here
    if tenant is not None:
        figures.TENANTS.labels(str(tenant.pk), f"{response.status_code // 100}xx").inc()


def route_of(request: HttpRequest) -> str:
    """The route's name: an address holds ids, and strangers could make any number of them."""
    match = request.resolver_match
    return (match.view_name or "unnamed") if match else "none"
