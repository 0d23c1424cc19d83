"""The HTTP door of the model server: OpenAI's protocol in front of the batch.

Knows tokens and pieces, not how they are drawn; never logs or keeps a prompt or an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from calm_engine import traces
from calm_engine.errors import EngineError
from calm_engine.generation import Piece, Sampling, Scored
from calm_engine.grammar import Held
from calm_engine.serving import protocol
from calm_engine.serving.door import BareDoor, Gone, body_of, no_model, told
from calm_engine.serving.line import Line, Loaded, Ticket
from calm_engine.serving.protocol import Ask, Form, Json, RequestError, Usage
from calm_engine.serving.reading import Reader
from calm_engine.serving.roster import Part, Roster

LEAVE_SECONDS = 10.0  # that answers may take of a composition that is let go
BEAT_SECONDS = 10.0  # between signs of life to a client that waits


@dataclass(frozen=True)
class _Job:
    """One admitted request: how to shape its reply, and where its pieces arrive.

    pieces   None in it means that the client went away
    """

    ask: Ask
    form: Form
    ticket: Ticket
    pieces: asyncio.Queue[Piece | EngineError | None]


class Door(BareDoor):
    """The door to compositions on one anchor and to the bare anchor, whose name is "anchor".

    All are asked at the root, each by its key; below `/at/KEY` there is one alone, under its name.

    roster   the compositions
    secret   what the bearer must show; None: everyone who reaches the port may ask
    """

    def __init__(
        self, line: Line[Ticket, Mapping[str, Loaded]], roster: Roster, *, secret: str | None
    ) -> None:
        super().__init__(line, secret=secret)
        self._answers, self._roster = line, roster
        # One thread: reading a long prompt must hold up neither the loop nor the model thread.
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._readers: WeakKeyDictionary[Loaded, Reader] = WeakKeyDictionary()

    def names(self, request: Request) -> Sequence[str]:
        return self._roster.names(request.path_params.get("key"))

    def routes(self) -> Sequence[BaseRoute]:
        asked = (
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
        )
        changed = (
            Route("/compositions/{key}", self.add, methods=["PUT"]),
            Route("/compositions/{key}", self.drop, methods=["DELETE"]),
        )
        # Whoever may have a folder loaded has shown that they may.
        can_change = self._roster.can_change and self.has_secret
        return (
            *asked,
            Mount("/at/{key}", routes=[*self.listing(), *asked]),
            Route("/compositions", self.compositions, methods=["GET"]),
            *(changed if can_change else ()),
        )

    # -- compositions that come and go -------------------------------------------------------------

    async def compositions(self, request: Request) -> Response:
        self.check_secret(request)
        return JSONResponse({"data": self._roster.told()})

    async def add(self, request: Request) -> Response:
        """Begin to load one; how that goes is told by `compositions`."""
        self.check_secret(request)
        told = protocol.read_json(await body_of(request))
        name, folder = (protocol.read_text(told.get(it), it) for it in ("name", "composition"))
        given = told.get("augmenters")
        if not isinstance(given, list) or not given:
            raise protocol.bad("augmenters", "must be a list of folders")
        below = tuple(protocol.read_text(one, f"augmenters[{at}]") for at, one in enumerate(given))
        self._roster.add(Part(request.path_params["key"], name, folder, below))
        return Response(status_code=202)

    async def drop(self, request: Request) -> Response:
        """Let one go: at once to new requests, and wholly when its answers have ended."""
        self.check_secret(request)
        self._roster.drop(request.path_params["key"], within=LEAVE_SECONDS)
        return Response(status_code=202)

    # -- answers -----------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        return await self._reply(request, protocol.read_chat, is_chat=True)

    async def complete(self, request: Request) -> Response:
        return await self._reply(request, protocol.read_completion, is_chat=False)

    async def _reply(
        self, request: Request, read: Callable[[Json], Ask], *, is_chat: bool
    ) -> Response:
        self.check_secret(request)
        ask = read(protocol.read_json(await body_of(request)))
        try:
            key, is_bare = self._roster.find(ask.model, request.path_params.get("key"))
        except KeyError as error:
            raise no_model() from error
        job = await self._submit(ask, key, _gate(ask, is_bare=is_bare), is_chat=is_chat)
        if ask.stream:
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            events = self._events(job, request)
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)
        return JSONResponse(await self._whole(job, request))

    async def _submit(self, ask: Ask, key: str, gate: float, *, is_chat: bool) -> _Job:
        """Check what only the model can tell, and queue the request."""
        try:
            loaded = self._roster.loaded(key)
        except EngineError as error:
            raise self.turned_away(ask.model, error) from error
        if ask.influence and not self._answers.can_judge:
            raise RequestError(
                400,
                "Influence is told by the torch engine alone.",
                code="unsupported_value",
                param="influence",
            )
        loop = asyncio.get_running_loop()
        read = functools.partial(self._read, ask, loaded, is_chat=is_chat)
        prompt, held = await loop.run_in_executor(self._reading, read)
        param = "messages" if is_chat else "prompt"
        _check_prompt(prompt, loaded, param)
        most = self._answers.most_tokens(key, bare=gate == 0.0)
        room = _room(prompt, ask.max_tokens, loaded.limit, most, param)
        pieces: asyncio.Queue[Piece | EngineError | None] = asyncio.Queue()

        def deliver(piece: Piece | EngineError) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is there
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        sampling = Sampling(
            max_new_tokens=room,
            temperature=ask.temperature,
            top_p=ask.top_p,
            seed=ask.seed,
            stop=ask.stop,
            top_logprobs=ask.logprobs,
            gate=gate,
        )
        ticket = Ticket(
            prompt,
            sampling,
            deliver=deliver,
            caller=ask.caller,
            model=key,
            is_judged=ask.influence,
            held=held,
        )
        try:
            self._answers.submit(ticket)
        except EngineError as error:
            raise self.turned_away(ask.model, error) from error
        kind = "chatcmpl" if is_chat else "cmpl"
        form = Form(
            id=f"{kind}-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=ask.model,
            fingerprint=loaded.fingerprint,
            chat=is_chat,
        )
        return _Job(ask, form, ticket, pieces)

    def _read(
        self, ask: Ask, loaded: Loaded, *, is_chat: bool
    ) -> tuple[tuple[int, ...], Held | None]:
        """On the reader's thread."""
        reader = self._readers.get(loaded)
        if reader is None:
            reader = self._readers[loaded] = Reader(loaded)
        return reader.read(ask, is_chat=is_chat)

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
        except Gone:
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
                    raise Gone
                if isinstance(piece, EngineError):
                    outcome = "failed"
                    raise told(piece)
                finish, drawn = piece.finish, piece.drawn
                outcome = finish or outcome
                yield piece

        try:
            yield arriving()
        finally:
            job.ticket.cancel()
            watch.cancel()
            model = job.ask.model
            self._answers.meters.requests.labels(model, outcome).inc()
            span.tell(
                counterpoint__model=model,
                counterpoint__outcome=outcome,
                counterpoint__prompt_tokens=len(job.ticket.prompt),
                counterpoint__completion_tokens=drawn,
            )
            span.close()


# -- checks ----------------------------------------------------------------------------------------


def _gate(ask: Ask, *, is_bare: bool) -> float:
    if not is_bare:
        return 1.0 if ask.gate is None else ask.gate
    if ask.gate:
        raise RequestError(
            400, "`gate` can only be 0 for the bare anchor.", code="invalid_value", param="gate"
        )
    return 0.0


async def _watch(request: Request, job: _Job) -> None:
    """Cancel the job when its client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.ticket.cancel()
    job.pieces.put_nowait(None)


def _check_prompt(prompt: tuple[int, ...], loaded: Loaded, param: str) -> None:
    if not prompt:
        raise RequestError(400, "The prompt is empty.", code="invalid_value", param=param)
    if len(prompt) >= loaded.limit:
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


def _room(
    prompt: tuple[int, ...], wanted: int | None, limit: int, most: int | None, param: str
) -> int:
    """Tokens that the answer may have. Raises RequestError 400 for what memory never holds.

    limit   tokens that the model reads
    most    tokens that the memory holds, or None
    """
    room = min(limit - len(prompt), wanted or limit)
    if most is None or len(prompt) + room <= most:
        return room
    if wanted is None and len(prompt) < most:
        return most - len(prompt)
    raise RequestError(
        400,
        f"The prompt has {len(prompt)} tokens and the answer may have {room}; this server has "
        f"memory for {most} of one request. Ask for less, or for a shorter answer.",
        code="context_length_exceeded",
        param=param,
    )
