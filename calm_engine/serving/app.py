"""The HTTP door of the model server: OpenAI's protocol in front of the batch.

Knows tokens and pieces, not how they are drawn; never logs or keeps a prompt or an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from calm_engine import traces
from calm_engine.data import chat_prompt
from calm_engine.errors import EngineError, InputError
from calm_engine.generation import Piece, Sampling, Scored, end_tokens
from calm_engine.grammar import Grammars, Held
from calm_engine.serving import protocol
from calm_engine.serving.door import BareDoor, Gone, body_of, told
from calm_engine.serving.line import Line, Loaded, Ticket
from calm_engine.serving.protocol import Ask, Form, Json, RequestError, Usage

ANCHOR = "anchor"
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
    """The door to a composition and to its bare anchor, whose name is "anchor".

    name     the composition's name among the models
    secret   what the bearer must show; None: everyone who reaches the port may ask
    """

    def __init__(self, line: Line[Ticket, Loaded], *, name: str, secret: str | None) -> None:
        super().__init__(line, names=(name, ANCHOR), secret=secret)
        self._answers, self._name = line, name
        # One thread, with a tokenizer of its own: reading a long prompt must hold up neither the
        # event loop nor the model thread, and a tokenizer is not to be shared between threads.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._tokenizer: Any = None
        self._grammars: Grammars | None = None

    def routes(self) -> Sequence[Route]:
        return (
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
        )

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
        self.check_model(ask.model)
        job = await self._submit(ask, is_chat=is_chat)
        if ask.stream:
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            events = self._events(job, request)
            return StreamingResponse(events, media_type="text/event-stream", headers=headers)
        return JSONResponse(await self._whole(job, request))

    async def _submit(self, ask: Ask, *, is_chat: bool) -> _Job:
        """Check what only the model can tell, and queue the request."""
        loaded = self._answers.loaded
        if loaded is None or self._answers.state != "ready":
            raise self.turned_away(ask.model, self._answers.absence())
        gate = self._gate(ask)
        if ask.influence and not self._answers.can_judge:
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
        ticket = Ticket(
            prompt,
            sampling,
            deliver=deliver,
            caller=ask.caller,
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
            model = self.known(job.ask.model)
            self._answers.meters.requests.labels(model, outcome).inc()
            span.tell(
                counterpoint__model=model,
                counterpoint__outcome=outcome,
                counterpoint__prompt_tokens=len(job.ticket.prompt),
                counterpoint__completion_tokens=drawn,
            )
            span.close()

    # -- checks ------------------------------------------------------------------------------------

    def _gate(self, ask: Ask) -> float:
        if ask.model != ANCHOR or self._name == ANCHOR:
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
