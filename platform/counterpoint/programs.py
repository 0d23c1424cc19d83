"""The way of a program to its view, past all that only a browser needs: sessions, forms, messages.

Each of Django's own middlewares hops to a thread and back, which a program waits for in vain.
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from csp.middleware import CSPMiddleware
from django.http import HttpRequest
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import resolve
from django.utils.decorators import sync_and_async_middleware

from counterpoint.watch.requests import Door, Response

PATH = "/v1/"
# What holds for every answer of the site: hosts, HTTPS, headers. None of these waits for anything.
KEPT = (SecurityMiddleware, CSPMiddleware, CommonMiddleware, XFrameOptionsMiddleware)


@sync_and_async_middleware
def straight(get_response: Door) -> Door:
    """Answer whatever lies below PATH here; all else goes on."""
    kept: list[Any] = [kind(get_response) for kind in KEPT]

    async def program(request: HttpRequest) -> Response:
        for each in kept:
            if hasattr(each, "process_request") and (turned := each.process_request(request)):
                return turned  # type: ignore[no-any-return]  # a redirect to HTTPS, or to a slash
        match = request.resolver_match = resolve(request.path_info)
        view = match.func if iscoroutinefunction(match.func) else sync_to_async(match.func)
        response = await view(request, *match.args, **match.kwargs)
        for each in reversed(kept):
            if hasattr(each, "process_response"):
                response = each.process_response(request, response)
        return response  # type: ignore[no-any-return]  # whatever the view gave

    if iscoroutinefunction(get_response):

        async def door(request: HttpRequest) -> Response:
            is_program = request.path_info.startswith(PATH)
            return await (program if is_program else get_response)(request)

        return door

    def plain_door(request: HttpRequest) -> Response:
        if request.path_info.startswith(PATH):
            return async_to_sync(program)(request)
        return get_response(request)  # type: ignore[return-value]  # not a coroutine

    return plain_door
