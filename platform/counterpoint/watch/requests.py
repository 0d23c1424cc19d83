"""Counts requests: how many, how they ended, how long to their answer. Reads no content."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from counterpoint.watch import figures

Response = HttpResponseBase
Door = Callable[[HttpRequest], Response] | Callable[[HttpRequest], Awaitable[Response]]
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@sync_and_async_middleware
def counted(get_response: Door) -> Door:
    """Outermost: it sees what every other middleware answers as well."""
    if iscoroutinefunction(get_response):

        async def door(request: HttpRequest) -> Response:
            began = time.perf_counter()
            with figures.UNDER_WAY.track_inprogress():
                response: Response = await get_response(request)
            count(request, response, time.perf_counter() - began)
            return response

        return door

    def plain_door(request: HttpRequest) -> Response:
        began = time.perf_counter()
        with figures.UNDER_WAY.track_inprogress():
            response: Response = get_response(request)  # type: ignore[assignment]  # not a coroutine
        count(request, response, time.perf_counter() - began)
        return response

    return plain_door


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
