"""The HTTP door of the model server: OpenAI's protocol in front of the batch.

Knows tokens and pieces, not how they are drawn; never logs or keeps a prompt or an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from calm_engine import traces
from calm_engine.data import chat_prompt
from calm_engine.errors import EngineError, InputError
from calm_engine.generation import Piece, Sampling, Scored, end_tokens
from calm_engine.grammar import Grammars, Held
from calm_engine.serving import protocol
from calm_engine.serving.line import Line, Loaded, Ticket
from calm_engine.serving.protocol import Ask, Form, Json, RequestError, Usage
from calm_engine.wording import sentence

ANCHOR = "anchor"
BODY_LIMIT = 2 * 1024 * 1024  # bytes
BODY_SECONDS = 30.0
BEAT_SECONDS = 10.0  # between signs of life to a client that waits
RETRY_SECONDS = {"server.busy": 2, "server.loading": 5, "server.draining": 5}


class _Gone(Exception):  # noqa: N818 an ending, not an error
    """The client went away; there is nobody to answer."""


@dataclass(frozen=True)
class _Job:
    """One admitted request: how to shape its reply, and where its pieces arrive.

    pieces   None in it means that the client went away
    """

    ask: Ask
    form: Form
    ticket: Ticket
    pieces: asyncio.Queue[Piece | EngineError | None]


class Door:
    """Answers the HTTP requests of one model server.

    name     the composition's name among the models; the bare anchor is "anchor"
    secret   what the bearer must show; None: everyone who reaches the port may ask
    """

    def __init__(self, batcher: Line, *, name: str, secret: str | None) -> None:
        self._batcher, self._name = batcher, name
        self._secret = None if secret is None else _digest(secret)
        self._born = int(time.time())
        # One thread, with a tokenizer of its own: reading a long prompt must hold up neither the
        # event loop nor the model thread, and a tokenizer is not to be shared between threads.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._tokenizer: Any = None
        self._grammars: Grammars | None = None

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/metrics", self.metrics),
                Route("/v1/models", self.models),
                Route("/v1/models/{name:path}", self.model),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/completions", self.complete, methods=["POST"]),
            ],
            exception_handlers={
                RequestError: _refused,
                HTTPException: _not_found,
                ClientDisconnect: _nobody,
                _Gone: _nobody,
                Exception: _broken,
            },
        )

    # -- what is here ------------------------------------------------------------------------------

    async def health(self, _: Request) -> Response:
        state = self._batcher.state
        return JSONResponse({"status": state}, status_code=200 if state == "ready" else 503)

    async def metrics(self, _: Request) -> Response:
        meters = self._batcher.meters
        return Response(meters.page(), headers={"Content-Type": meters.content_type})

    async def models(self, request: Request) -> Response:
        self._check_secret(request)
        listed = [protocol.model_body(name, self._born) for name in (self._name, ANCHOR)]
        return JSONResponse({"object": "list", "data": listed})

    async def model(self, request: Request) -> Response:
        self._check_secret(request)
        name = request.path_params["name"]
        self._check_model(name)
        return JSONResponse(protocol.model_body(name, self._born))

    # -- answers -----------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        return await self._reply(request, protocol.read_chat, is_chat=True)

    async def complete(self, request: Request) -> Response:
        return await self._reply(request, protocol.read_completion, is_chat=False)

    async def _reply(
        self, request: Request, read: Callable[[Json], Ask], *, is_chat: bool
    ) -> Response:
        self._check_secret(request)
        ask = read(protocol.read_json(await _body(request)))
        self._check_model(ask.model)
        job = await self._submit(ask, is_chat=is_chat)
        if ask.stream:
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            events = self._events(job, request)
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)
        return JSONResponse(await self._whole(job, request))

    async def _submit(self, ask: Ask, *, is_chat: bool) -> _Job:
        """Check what only the model can tell, and queue the request."""
        loaded = self._batcher.loaded
        if loaded is None or self._batcher.state != "ready":
            raise self._turned_away(ask, InputError(f"server.{self._batcher.state}"))
        gate = self._gate(ask)
        if ask.influence and not self._batcher.can_judge:
            raise RequestError(
                400,
                "Influence is told by the torch engine alone.",
                code="unsupported_value",
                param="influence",
            )
        loop = asyncio.get_running_loop()
        prompt, held = await loop.run_in_executor(self._reader, self._read, ask, loaded, is_chat)
        room = loaded.limit - len(prompt)
        _check_prompt(prompt, room, loaded, "messages" if is_chat else "prompt")
        pieces: asyncio.Queue[Piece | EngineError | None] = asyncio.Queue()

        def deliver(piece: Piece | EngineError) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is there
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        sampling = Sampling(
            max_new_tokens=min(room, ask.max_tokens or room),
            temperature=ask.temperature,
            top_p=ask.top_p,
            seed=ask.seed,
            stop=ask.stop,
            top_logprobs=ask.logprobs,
            gate=gate,
        )
        ticket = Ticket(prompt, sampling, deliver, is_judged=ask.influence, held=held)
        try:
            self._batcher.submit(ticket)
        except EngineError as error:
            raise self._turned_away(ask, error) from error
        kind = "chatcmpl" if is_chat else "cmpl"
        form = Form(
            id=f"{kind}-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=ask.model,
            fingerprint=loaded.fingerprint,
            chat=is_chat,
        )
        return _Job(ask, form, ticket, pieces)

    def _read(self, ask: Ask, loaded: Loaded, is_chat: bool) -> tuple[tuple[int, ...], Held | None]:
        """Token ids of a request, and what its answer is held to; on the reader's thread."""
        if self._tokenizer is None:
            self._tokenizer = copy.deepcopy(loaded.tokenizer)
        held = None if ask.schema is None else self._held(ask.schema, loaded)
        return self._prompt(ask, is_chat), held

    def _held(self, schema: str, loaded: Loaded) -> Held:
        try:
            if self._grammars is None:
                ends = end_tokens(loaded.model, self._tokenizer)
                self._grammars = Grammars(self._tokenizer, loaded.vocabulary, ends)
            return self._grammars.held_to(schema)
        except InputError as error:
            raise RequestError(
                400,
                f"No answer can be held to this schema: {error}",
                code="invalid_value",
                param="response_format",
            ) from error

    def _prompt(self, ask: Ask, is_chat: bool) -> tuple[int, ...]:
        if isinstance(ask.prompt, tuple):
            return ask.prompt
        if not is_chat:
            return tuple(self._tokenizer(ask.prompt)["input_ids"])
        try:
            return tuple(chat_prompt(self._tokenizer, list(ask.messages)))
        except TemplateError as error:
            raise RequestError(
                400,
                "This model's chat template does not take these messages.",
                code="invalid_value",
                param="messages",
            ) from error

    async def _whole(self, job: _Job, request: Request) -> Json:
        texts: list[str] = []
        tokens: list[Scored] = []
        last = Piece()
        async with self._pieces(job, request) as pieces:
            async for piece in pieces:
                if piece is None:
                    continue
                texts.append(piece.text)
                tokens.extend(piece.tokens)
                last = piece
        usage = Usage(len(job.ticket.prompt), last.drawn)
        scored = None if job.ask.logprobs is None else tokens
        finish = last.finish or "stop"
        return job.form.whole("".join(texts), scored, finish, usage, last.judged)

    async def _events(self, job: _Job, request: Request) -> AsyncIterator[bytes]:
        """The reply as server-sent events; a fault midway becomes the last event."""
        form, sent = job.form, 0
        if (first := form.first()) is not None:
            yield protocol.event(first)
        try:
            async with self._pieces(job, request) as pieces:
                async for piece in pieces:
                    if piece is None:
                        yield protocol.WAITING
                        continue
                    if piece.text or piece.tokens:
                        scored = None if job.ask.logprobs is None else piece.tokens
                        yield protocol.event(form.piece(piece.text, scored, sent))
                        sent += len(piece.text)
                    if piece.finish is not None:
                        yield protocol.event(form.last(piece.finish))
                        if job.ask.include_usage:
                            usage = Usage(len(job.ticket.prompt), piece.drawn)
                            yield protocol.event(form.bill(usage))
        except _Gone:
            return
        except RequestError as error:
            yield protocol.event(error.body())
        yield protocol.DONE

    @contextlib.asynccontextmanager
    async def _pieces(
        self, job: _Job, request: Request
    ) -> AsyncIterator[AsyncIterator[Piece | None]]:
        """The pieces of a job as they come, None when nothing came for a while.

        However it is left, early too, the row leaves the batch before its next step.
        """
        watch = asyncio.create_task(_watch(request, job))
        outcome, drawn = "cancelled", 0
        # Opened and closed by hand: a stream may be closed in another context than its own.
        span = traces.opened("model.answer", kind="server", parent=request.headers)

        async def arriving() -> AsyncIterator[Piece | None]:
            nonlocal outcome, drawn
            finish = None
            while finish is None:
                try:
                    async with asyncio.timeout(BEAT_SECONDS):
                        piece = await job.pieces.get()
                except TimeoutError:
                    yield None
                    continue
                if piece is None:
                    raise _Gone
                if isinstance(piece, EngineError):
                    outcome = "failed"
                    raise _told(piece)
                finish, drawn = piece.finish, piece.drawn
                outcome = finish or outcome
                yield piece

        try:
            yield arriving()
        finally:
            job.ticket.cancel()
            watch.cancel()
            model = self._known(job.ask.model)
            self._batcher.meters.requests.labels(model, outcome).inc()
            span.tell(
                counterpoint__model=model,
                counterpoint__outcome=outcome,
                counterpoint__prompt_tokens=len(job.ticket.prompt),
                counterpoint__completion_tokens=drawn,
            )
            span.close()

    # -- checks ------------------------------------------------------------------------------------

    def _check_secret(self, request: Request) -> None:
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

    def _check_model(self, name: str) -> None:
        if name not in (self._name, ANCHOR):
            raise RequestError(
                404, "There is no such model here.", code="model_not_found", param="model"
            )

    def _gate(self, ask: Ask) -> float:
        if ask.model != ANCHOR or self._name == ANCHOR:
            return 1.0 if ask.gate is None else ask.gate
        if ask.gate:
            raise RequestError(
                400, "`gate` can only be 0 for the bare anchor.", code="invalid_value", param="gate"
            )
        return 0.0

    def _known(self, name: str) -> str:
        return name if name in (self._name, ANCHOR) else "unknown"

    def _turned_away(self, ask: Ask, error: EngineError) -> RequestError:
        self._batcher.meters.requests.labels(self._known(ask.model), "turned_away").inc()
        return _told(error)


async def _watch(request: Request, job: _Job) -> None:
    """Cancel the job when its client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.ticket.cancel()
    job.pieces.put_nowait(None)


async def _body(request: Request) -> bytes:
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


def _check_prompt(prompt: tuple[int, ...], room: int, loaded: Loaded, param: str) -> None:
    if not prompt:
        raise RequestError(400, "The prompt is empty.", code="invalid_value", param=param)
    if room < 1:
        raise RequestError(
            400,
            f"The prompt has {len(prompt)} tokens; this model takes at most {loaded.limit} "
            "for prompt and answer together.",
            code="context_length_exceeded",
            param=param,
        )
    words = loaded.vocabulary
    if min(prompt) < 0 or max(prompt) >= words:
        raise RequestError(
            400, f"Token ids must lie between 0 and {words - 1}.", code="invalid_value", param=param
        )


def _digest(secret: str) -> bytes:
    """Of equal length for every secret, so that comparing takes the same time."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _told(error: EngineError) -> RequestError:
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
