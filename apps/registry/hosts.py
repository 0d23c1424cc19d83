"""Which model server answers for a composition, and how to speak to it: OpenAI over HTTP.

Chat and the API both stand on it. Knows no conversation, no key and no page; never logs or keeps a
prompt or an answer. Closing one of its iterators closes the connection, and so ends the work.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from uuid import UUID

import httpx
from django.db.models.functions import Now

from apps.registry import artifacts
from apps.registry.models import PLACEMENT_FRESH, WAKE_FOR, Composition, Embedder, Placement
from apps.tenants.scope import tenant_scope
from calm_engine import traces
from calm_engine.errors import InternalError
from counterpoint.database.kept import Kept
from counterpoint.env import internal_secret
from counterpoint.live import apart

if TYPE_CHECKING:
    from apps.accounts.models import User

Json = dict[str, Any]
T = TypeVar("T")
P = ParamSpec("P")

# Seconds. A model server shows a sign of life every ten; silence for three of them is death.
LIMITS = httpx.Timeout(30.0, connect=5.0)
PATIENT = httpx.Timeout(30.0, connect=5.0, read=None)
LINE_LIMIT = 1 << 20  # bytes; no event of ours comes near, and an endless line must not fill memory


class Refusal(Exception):  # noqa: N818  an answer of the model server, not a fault of ours
    """The model server turned a request away.

    error        its reason in OpenAI's shape: message, type, param, code
    retry_after  seconds after which it is worth asking again, or None
    """

    def __init__(self, status: int, error: Json, retry_after: int | None = None) -> None:
        super().__init__(status, error.get("code"))
        self.status, self.error, self.retry_after = status, error, retry_after

    @property
    def code(self) -> str:
        return str(self.error.get("code") or "")


@dataclass(frozen=True)
class Piece:
    """What one event adds to an answer; all empty: the server is there, and still reads.

    finish_reason  None while it goes on, else "stop" or "length"
    usage          prompt_tokens, completion_tokens, total_tokens: once, at the end
    """

    text: str = ""
    finish_reason: str | None = None
    usage: dict[str, int] | None = None


# ---- who answers ---------------------------------------------------------------------------------


def exact_name(composition: Composition) -> str:
    """The name that goes on meaning this composition when `live` moves."""
    return f"{composition.name}@{composition.version}"


def model_named(name: str, *, by: User) -> Composition | None:
    """The composition of this name that this person may use now; None: unknown or forbidden.

    name   "name" is what the alias `live` names; "name@3" is version 3
    """
    if "\0" in name:  # PostgreSQL takes none
        return None
    model, at, version = name.rpartition("@")
    if at and version.isascii() and version.isdecimal() and len(version) < 9:
        usable = Composition.objects.usable_by(by)
        exact: Composition | None = usable.filter(name=model, version=int(version)).first()
        if exact is not None:
            return exact
    return next(iter(_live(user=by, name=name)), None)


# Asked with every question.
_live: Kept[Composition] = Kept(
    lambda user, name: Composition.objects.usable_by(user).live().filter(name=name)
)


Addresses = tuple[str, ...]  # of replicas, the one to be asked first


def addresses_of(model: Composition | Embedder, *, caller: str = "") -> Addresses:
    """Where this model is served now; empty when nowhere.

    caller   of several replicas each caller keeps one, while that lives and has a place: there lies
             what was read of their earlier questions. Whoever loses theirs is spread over the
             others alone (rendezvous hashing, Thaler and Ravishankar, 1998). From a full one they
             go to that with the least to do
    """
    rows = _serving(type(model))(model=model)
    found = sorted(rows, key=lambda one: sha256(f"{one.address} {caller}".encode()).digest())
    found.reverse()
    if found and _is_full(found[0]):
        found.sort(key=lambda one: one.under_way / max(one.places, 1))
    return tuple(one.address for one in found)


@cache
def _serving(kind: type[Composition | Embedder]) -> Kept[Placement]:
    column = artifacts.KINDS[kind]
    return Kept(lambda model: Placement.objects.serving().filter(**{column: model}))


def _is_full(placement: Placement) -> bool:
    return 0 < placement.places <= placement.under_way


def wake(composition: Composition) -> None:
    """Ask a host where it sleeps to load it again; of several, one."""
    placements: Any = Placement.objects.with_freshness()
    asleep = placements.filter(composition=composition, state=Placement.State.ASLEEP, is_fresh=True)
    is_called = asleep.filter(asked_at__gte=Now() - WAKE_FOR / 2).exists()
    if not is_called and (found := asleep.order_by("pk").first()) is not None:
        Placement.objects.filter(pk=found.pk).update(asked_at=Now())


def is_starting(composition: Composition, *, now: Any) -> bool:
    """Whether a host is loading it, or will when it is asked: worth waiting for."""
    known = Placement.State
    return states([composition], now=now)[composition.pk] in (known.STARTING, known.ASLEEP)


def states(compositions: Iterable[Composition], *, now: Any) -> dict[UUID, str]:
    """How each of them stands, in one query: "ready", "starting", "asleep", "resting" or "off".

    Asleep: it has left its memory to others, and a question wakes it. Resting: it has left its
    accelerator to a training, and comes back by itself.
    """
    known = Placement.State
    # The best first.
    order = [str(one) for one in (known.READY, known.STARTING, known.ASLEEP, known.RESTING)]
    rows = Placement.objects.filter(
        composition__in=compositions, state__in=order, seen_at__gte=now - PLACEMENT_FRESH
    )
    found: dict[UUID, list[str]] = {}
    for composition, state in rows.values_list("composition", "state"):
        found.setdefault(composition, []).append(state)
    best = {pk: min(told, key=order.index) for pk, told in found.items()}
    return {each.pk: best.get(each.pk, "off") for each in compositions}


# ---- steps and looks of a stream -----------------------------------------------------------------


async def step(tenant_id: UUID, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """One short database step of a stream: a transaction of its own in this tenant's scope."""

    def run() -> T:
        with tenant_scope(tenant_id):
            return function(*args, **named)

    return await apart(run)


async def watched(
    source: AsyncGenerator[T], look: Callable[[], Awaitable[None]], *, every: float
) -> AsyncGenerator[T]:
    """Pass the source on, and look around every so many seconds, also while nothing comes.

    Whatever `look` raises ends the stream. However it ends, the source is closed.
    """
    upcoming: asyncio.Task[T] | None = None
    due = time.monotonic() + every
    async with aclosing(source):
        try:
            while True:
                upcoming = upcoming or asyncio.ensure_future(_next(source))
                await asyncio.wait({upcoming}, timeout=max(0.0, due - time.monotonic()))
                if time.monotonic() >= due:
                    await look()
                    due = time.monotonic() + every
                if not upcoming.done():
                    continue
                try:
                    piece = upcoming.result()
                except StopAsyncIteration:
                    return
                upcoming = None
                yield piece
        finally:
            if upcoming is not None and not upcoming.done():
                upcoming.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await upcoming


async def _next(source: AsyncGenerator[T]) -> T:
    """A coroutine, which a task can hold; `anext` itself is only awaitable."""
    return await anext(source)


# ---- the conversation with a model server --------------------------------------------------------


async def stream_chat(
    addresses: Addresses, messages: Sequence[dict[str, str]], *, model: str, settings: Json
) -> AsyncGenerator[Piece]:
    """The answer to these messages as it is written; the first, empty piece says that it is read.

    settings   temperature, seed, max_tokens and the like, as OpenAI spells them
    Raises Refusal, and InternalError("model.gone") when the server is not there or dies midway.
    """
    body = {**settings, "model": model, "messages": list(messages)}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    async with aclosing(stream(addresses, "chat/completions", body)) as events:
        async for event in events:
            if event is None:
                yield Piece()
                continue
            choice = (event.get("choices") or [{}])[0]
            text = (choice.get("delta") or {}).get("content") or ""
            yield Piece(text, choice.get("finish_reason"), event.get("usage"))


async def stream(addresses: Addresses, path: str, body: Json) -> AsyncGenerator[Json | None]:
    """The events of a streamed completion, None for a mere sign of life.

    Of two replicas the second is asked when the first dies, or turns the request away for now,
    before it has said anything. Raises Refusal, also for a fault midway, and
    InternalError("model.gone").
    """
    ask = partial(_stream, path=path, body=body)
    async with aclosing(_of_replicas(addresses, ask)) as events:
        async for event in events:
            yield event


async def _of_replicas(
    addresses: Addresses, ask: Callable[[str], AsyncGenerator[T]]
) -> AsyncGenerator[T]:
    """What the first one says, or the second where that may answer what the first did not."""
    first, *others = addresses
    has_said = False
    async with aclosing(ask(first)) as events:
        try:
            async for event in events:
                has_said = has_said or event is not None
                yield event
        except (Refusal, InternalError) as error:
            if has_said or not others or not _is_worth_another(error):
                raise
        else:
            return
    async with aclosing(ask(others[0])) as events:
        async for event in events:
            yield event


async def _stream(address: str, path: str, body: Json) -> AsyncGenerator[Json | None]:
    async with _asked(address, path, body) as response:
        yield None  # admitted; the model reads
        async for line in _lines(response.aiter_bytes()):
            if line == b"data: [DONE]":
                return
            if line.startswith(b"data: "):
                event = _object(line[6:])
                if "error" in event:
                    raise Refusal(500, event["error"])
                yield event
            elif line.startswith(b":"):
                yield None
        raise gone()


async def whole(
    addresses: Addresses, path: str, body: Json, *, limits: httpx.Timeout = PATIENT
) -> AsyncGenerator[Json]:
    """The one reply of a request that does not stream. Asks and raises as `stream` does.

    Of a completion nothing comes before the last token is drawn: how long that takes is the asker's
    own choice.
    """
    ask = partial(_whole, path=path, body=body, limits=limits)
    async with aclosing(_of_replicas(addresses, ask)) as replies:
        async for reply in replies:
            yield reply


async def _whole(
    address: str, path: str, body: Json, limits: httpx.Timeout
) -> AsyncGenerator[Json]:
    async with _asked(address, path, body, limits=limits) as response:
        yield _object(await response.aread())


def _is_worth_another(error: Refusal | InternalError) -> bool:
    """Whether another replica may answer what this one did not."""
    return not isinstance(error, Refusal) or error.status in (404, 429, 503)


@asynccontextmanager
async def _asked(
    address: str, path: str, body: Json, *, limits: httpx.Timeout = LIMITS
) -> AsyncIterator[httpx.Response]:
    """An admitted request. Faults of the connection become InternalError("model.gone")."""
    # Opened and closed by hand: a generator may be closed in another context than its own.
    span = traces.opened("model.ask", kind="client")
    headers = {"Authorization": f"Bearer {_secret()}", **span.heading()}

    url = f"{address.rstrip('/')}/v1/{path}"
    try:
        # trust_env: a proxy set for the outer world must never see what is said inside.
        async with (
            httpx.AsyncClient(trust_env=False, timeout=limits, verify=_certificates()) as client,
            client.stream("POST", url, json=body, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise _refusal(response, await response.aread())
            yield response
    except httpx.HTTPError as error:
        span.fail(type(error).__name__)
        raise gone() from error
    except Refusal as refusal:
        span.fail(refusal.code)
        raise
    finally:
        span.close()


def gone() -> InternalError:
    """The model server cannot be reached, or went away in the middle."""
    return InternalError("model.gone")


def _refusal(response: httpx.Response, body: bytes) -> Refusal:
    try:
        error = dict(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        error = {"message": "The model server refused.", "type": "server_error", "code": None}
    wait = response.headers.get("retry-after", "")
    return Refusal(response.status_code, error, int(wait) if wait.isdecimal() else None)


def _object(raw: bytes) -> Json:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise gone() from error
    if not isinstance(found, dict):
        raise gone()
    return found


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines by line feed alone: httpx also splits at signs that JSON may hold."""
    rest = b""
    async for part in parts:
        *ready, rest = (rest + part).split(b"\n")
        if len(rest) > LINE_LIMIT:
            raise gone()
        for line in ready:
            yield line.rstrip(b"\r")


def _secret() -> str:
    return internal_secret().read_text(encoding="utf-8").strip()


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: each reading takes as long as a dozen tokens."""
    return ssl.create_default_context()
