"""What every model server's HTTP door has: who may come in, what is here, how it is refused.

Knows OpenAI's shapes and neither answers nor vectors; never logs or keeps what is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from calm_engine.errors import EngineError
from calm_engine.serving import protocol
from calm_engine.serving.line import Line
from calm_engine.serving.protocol import RequestError
from calm_engine.wording import sentence

BODY_LIMIT = 2 * 1024 * 1024  # bytes
BODY_SECONDS = 30.0
RETRY_SECONDS = {
    "server.busy": 2,
    "server.loading": 5,
    "server.draining": 5,
    "server.memory": 5,
}


class Gone(Exception):  # noqa: N818 an ending, not an error
    """The client went away; there is nobody to answer."""


class BareDoor(ABC):
    """Answers the HTTP requests of one model server, but for those that ask its model.

    secret   what the bearer must show; None: everyone who reaches the port may ask
    """

    def __init__(self, line: Line[Any, Any], *, secret: str | None) -> None:
        self._line = line
        self._secret = None if secret is None else _digest(secret)
        self._born = int(time.time())

    @abstractmethod
    def names(self, request: Request) -> Sequence[str]:
        """The models that this request may ask for."""

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Where the model is asked."""

    def listing(self) -> Sequence[Route]:
        """Where the models are told."""
        return (
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
        )

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/metrics", self.metrics),
                *self.listing(),
                *self.routes(),
            ],
            exception_handlers={
                RequestError: _refused,
                HTTPException: _not_found,
                ClientDisconnect: _nobody,
                Gone: _nobody,
                Exception: _broken,
            },
        )

    # -- what is here ------------------------------------------------------------------------------

    async def health(self, _: Request) -> Response:
        state = self._line.state
        return JSONResponse({"status": state}, status_code=200 if state == "ready" else 503)

    async def metrics(self, _: Request) -> Response:
        meters = self._line.meters
        return Response(meters.page(), headers={"Content-Type": meters.content_type})

    async def models(self, request: Request) -> Response:
        self.check_secret(request)
        listed = [protocol.model_body(name, self._born) for name in self.names(request)]
        return JSONResponse({"object": "list", "data": listed})

    async def model(self, request: Request) -> Response:
        self.check_secret(request)
        name = request.path_params["name"]
        self.check_model(request, name)
        return JSONResponse(protocol.model_body(name, self._born))

    @property
    def has_secret(self) -> bool:
        return self._secret is not None

    # -- checks ------------------------------------------------------------------------------------

    def check_secret(self, request: Request) -> None:
        """Raises RequestError 401."""
        if self._secret is None:
            return
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(_digest(shown), self._secret):
            raise RequestError(
                401,
                "The secret is missing or wrong.",
                code="invalid_api_key",
                kind="authentication_error",
            )

    def check_model(self, request: Request, name: str) -> None:
        """Raises RequestError 404."""
        if name not in self.names(request):
            raise no_model()

    def turned_away(self, model: str, error: EngineError) -> RequestError:
        """Count and word the refusal of a request for a model that is here."""
        self._line.meters.requests.labels(model, "turned_away").inc()
        return told(error)


def no_model() -> RequestError:
    return RequestError(404, "There is no such model here.", code="model_not_found", param="model")


async def body_of(request: Request) -> bytes:
    """The whole body. Raises RequestError 413 beyond BODY_LIMIT and 408 when it dawdles."""
    too_large = RequestError(
        413, f"The body may have at most {BODY_LIMIT} bytes.", code="request_too_large"
    )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_LIMIT:
                    raise too_large
    except TimeoutError as error:
        raise RequestError(408, "The body did not arrive in time.", code="timeout") from error
    return bytes(body)


def told(error: EngineError) -> RequestError:
    """An engine's error as a client sees it: try again later, or a fault of ours."""
    again = RETRY_SECONDS.get(error.code)
    status = 429 if error.code == "server.busy" else 503 if again else 500
    return RequestError(
        status,
        sentence(error),
        code=error.code,
        kind="rate_limit_error" if status == 429 else "server_error",
        retry_after=again,
    )


def _digest(secret: str) -> bytes:
    """Of equal length for every secret, so that comparing takes the same time."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers: Mapping[str, str] = {}
    if error.retry_after is not None:
        headers = {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = protocol.error_body(f"{error.detail}.", kind="invalid_request_error", code="unknown_url")
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _nobody(_: Request, _error: Exception) -> Response:
    return Response(status_code=499)


async def _broken(_: Request, _error: Exception) -> Response:
    body = protocol.error_body(
        "The model server failed. Its log says more.", kind="server_error", code="server.fault"
    )
    return JSONResponse(body, status_code=500)
