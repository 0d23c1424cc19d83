"""The model server of an embedding model: texts in, vectors out, many callers at once.

Knows how a text is sent and a vector told; what makes them is `calm_engine.embedding`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from starlette import requests
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from calm_engine.embedding import AT_ONCE, Embedder, read_ids
from calm_engine.errors import EngineError
from calm_engine.serving import protocol
from calm_engine.serving.door import BareDoor, Gone, body_of, told
from calm_engine.serving.line import Line, Request, fault
from calm_engine.serving.protocol import Json, bad

logger = logging.getLogger(__name__)

INPUTS = 2048  # texts of one request, as OpenAI has it

Rows = tuple[tuple[int, ...], ...]


@dataclass(eq=False)
class Texts(Request):
    """Texts that want vectors: `deliver` gets the vectors, (texts, width), or an error.

    rows   token ids of each text
    made   vectors of the first of them
    """

    rows: Rows
    made: list[Tensor] = field(default_factory=list)


class EmbedderLine(Line[Texts, Embedder]):
    """Texts of all callers share the passes, so that a long list holds up no short one.

    load   called on the model thread; whatever it raises ends up in `failure`
    """

    def __init__(self, load: Callable[[], Embedder], **how: Any) -> None:
        super().__init__(**how)
        self._load = load
        self._begun_texts: list[Texts] = []

    def _open(self) -> Embedder:
        return self._load()

    def _turn(self, loaded: Embedder) -> None:
        self._forget_cancelled()
        begun = [texts for texts in self._begun_texts if not texts.cancelled]
        self._begun_texts = begun
        while len(begun) < self._most and (texts := self._next()) is not None:
            begun.append(texts)
        if begun:
            self._pass(loaded, begun)

    def _pass(self, loaded: Embedder, begun: Sequence[Texts]) -> None:
        """One pass of the model over some texts of everybody."""
        share = max(1, AT_ONCE // len(begun))
        parts = [texts.rows[len(texts.made) :][:share] for texts in begun]
        rows = [row for part in parts for row in part]
        try:
            with self.meters.step.time():
                vectors = iter(loaded.encode_ids(rows))
        except Exception as error:
            logger.exception("a pass failed")
            self._begun_texts = []
            for texts in begun:
                texts.deliver(fault(error))
            return
        self.meters.prompt_tokens.inc(sum(map(len, rows)))
        for texts, part in zip(begun, parts, strict=True):
            texts.made += [next(vectors) for _ in part]
            if len(texts.made) == len(texts.rows):
                self._begun_texts.remove(texts)
                texts.deliver(texts.made)

    def _current(self) -> list[Texts]:
        return self._begun_texts

    def _begun(self) -> list[Texts]:
        begun, self._begun_texts = self._begun_texts, []
        return begun


@dataclass(frozen=True)
class Wish:
    """One checked request.

    inputs       texts, or token ids
    dimensions   what the vectors must be wide, or None
    is_cut       a text that is too long is cut off, else refused
    """

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None
    is_base64: bool
    is_cut: bool
    caller: str


def read_wish(values: Json) -> Wish:
    """Check a body of /v1/embeddings. Raises RequestError 400."""
    form = values.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise bad("encoding_format", "must be float or base64")
    return Wish(
        model=protocol.read_model(values),
        inputs=_inputs(values.get("input")),
        dimensions=protocol.read_whole(values, "dimensions", 1),
        is_base64=form == "base64",
        is_cut=protocol.read_flag(values, "truncate"),
        caller=protocol.read_caller(values),
    )


def _inputs(given: object) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(given, str) or _is_ids(given):
        given = [given]
    if not isinstance(given, list) or not given:
        raise bad("input", "must be a text, a list of token ids, or a list of these")
    if len(given) > INPUTS:
        raise bad("input", f"may hold at most {INPUTS} texts")
    return tuple(_input(one, f"input[{at}]") for at, one in enumerate(given))


def _input(one: object, param: str) -> str | tuple[int, ...]:
    found = tuple(cast("list[int]", one)) if _is_ids(one) else protocol.read_text(one, param)
    if not found:
        raise bad(param, "is empty")
    return found


def _is_ids(given: object) -> bool:
    return (
        isinstance(given, list)
        and bool(given)
        and all(isinstance(one, int) and not isinstance(one, bool) for one in given)
    )


class EmbedderDoor(BareDoor):
    """The door to one embedding model.

    name     its name among the models
    secret   what the bearer must show; None: everyone who reaches the port may ask
    """

    def __init__(self, line: EmbedderLine, *, name: str, secret: str | None) -> None:
        super().__init__(line, secret=secret)
        self._embedding, self._name = line, name
        # As in `app`: reading a long list must hold up neither the loop nor the model thread.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._tokenizer: Any = None

    def names(self, request: requests.Request) -> Sequence[str]:  # noqa: ARG002  there is one
        return (self._name,)

    def routes(self) -> Sequence[Route]:
        return (Route("/v1/embeddings", self.embed, methods=["POST"]),)

    async def embed(self, request: requests.Request) -> Response:
        self.check_secret(request)
        wish = read_wish(protocol.read_json(await body_of(request)))
        self.check_model(request, wish.model)
        loaded, loop = self._embedding.loaded, asyncio.get_running_loop()
        if loaded is None:
            raise self.turned_away(wish.model, self._embedding.absence())
        if wish.dimensions not in (None, loaded.width):
            raise bad("dimensions", f"can only be {loaded.width} for this model")
        rows = await loop.run_in_executor(self._reader, self._rows, wish, loaded)
        vectors = await self._vectors(wish, rows, request)
        self._line.meters.requests.labels(wish.model, "stop").inc()
        return JSONResponse(_reply(wish, vectors, sum(map(len, rows))))

    def _rows(self, wish: Wish, loaded: Embedder) -> Rows:
        """Token ids of each text; on the reader's thread. Raises RequestError 400."""
        if self._tokenizer is None:
            self._tokenizer = copy.deepcopy(loaded.tokenizer)
        texts = [one for one in wish.inputs if isinstance(one, str)]
        read = iter(read_ids(self._tokenizer, texts) if texts else [])
        rows = [tuple(next(read)) if isinstance(one, str) else one for one in wish.inputs]
        for at, row in enumerate(rows):
            if len(row) > loaded.limit and not wish.is_cut:
                why = f"has {len(row)} tokens; this model takes at most {loaded.limit}"
                raise bad(f"input[{at}]", why, "context_length_exceeded")
            if min(row) < 0 or max(row) >= loaded.vocabulary:
                raise bad(f"input[{at}]", f"must hold ids from 0 to {loaded.vocabulary - 1}")
        return tuple(row[: loaded.limit] for row in rows)

    async def _vectors(self, wish: Wish, rows: Rows, request: requests.Request) -> list[Tensor]:
        """What the model makes of them. Raises RequestError, and Gone when nobody waits for it."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[list[Tensor] | EngineError | None] = loop.create_future()

        def settle(what: list[Tensor] | EngineError | None) -> None:
            if not arrived.done():
                arrived.set_result(what)

        def deliver(what: list[Tensor] | EngineError) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is there
                loop.call_soon_threadsafe(settle, what)

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            settle(None)

        texts = Texts(rows, deliver=deliver, caller=wish.caller)
        try:
            self._embedding.submit(texts)
        except EngineError as error:
            raise self.turned_away(wish.model, error) from error
        watching = asyncio.create_task(watch())
        try:
            made = await arrived
        finally:
            texts.cancel()
            watching.cancel()
        if made is None or isinstance(made, EngineError):
            outcome = "cancelled" if made is None else "failed"
            self._line.meters.requests.labels(wish.model, outcome).inc()
            raise Gone if made is None else told(made)
        return made


def _reply(wish: Wish, vectors: Sequence[Tensor], tokens: int) -> Json:
    data = [
        {"object": "embedding", "index": at, "embedding": _spelled(vector, wish.is_base64)}
        for at, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": wish.model, "usage": usage}


def _spelled(vector: Tensor, is_base64: bool) -> str | list[float]:
    """Numbers, or the bytes of 32-bit floats, the least byte first."""
    if not is_base64:
        return vector.tolist()
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode("ascii")
