"""Carries each answer from its model server to its readers and, at the end, to its row.

One event loop of its own in the web process: an answer outlives the request that asked for it, and
the tab that watched. Every piece goes to a Valkey stream, which any reader follows and resumes
(`stream.py`); the row gets the text every second, and its end once. Knows no request.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import redis
import structlog
from django.utils.translation import ngettext

from apps.chat import actions
from apps.chat.actions import Verdict, Work
from apps.chat.models import State
from apps.registry import embedders, hosts
from apps.tenants.typed import storable
from calm_engine.errors import EngineError, InputError, InternalError
from counterpoint import live
from counterpoint.database import current_tenant_id
from counterpoint.wording import sentence

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.2  # how soon a stop is noticed
KEEP_SECONDS = 1.0  # how soon the end of a right is noticed, and how much text a crash may cost
FLUSH_SECONDS = 0.05  # pieces are sent together: nobody reads faster
WAKE_SECONDS = 120.0  # how long a model that is being loaded is waited for
PATIENCE_SECONDS = 4.0  # and one that no host has taken on yet: it may be about to


class Ended(Exception):  # noqa: N818  an ending, not an error
    """The reply ends before the model is done: stopped, barred, or its row is gone."""


@dataclass
class Draft:
    """One answer as it grows.

    unsent   text that readers have not been sent yet
    passages ids of those that the model reads before the question
    """

    tenant_id: UUID
    reply_id: UUID
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    text: str = ""
    unsent: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    passages: list[UUID] = field(default_factory=list)
    sent_at: float = 0.0
    kept_at: float = field(default_factory=time.monotonic)

    async def step(self, function: Any, *arguments: Any, **named: Any) -> Any:
        """A database step on this reply."""
        return await hosts.step(self.tenant_id, function, self.reply_id, *arguments, **named)

    async def say(self, event: str, **data: Any) -> None:
        """Tell the readers. Without the broker nobody can watch; the answer goes on."""
        with suppress(redis.RedisError, TimeoutError):
            await live.append(stream_name(self.reply_id), {"event": event, "data": data})

    async def say_state(self, state: str, note: str) -> None:
        await self.say("state", state=state, note=note)

    async def add(self, text: str) -> None:
        text = storable(text)
        if text and not self.text:
            await self.say_state("writing", "Writing")
        self.text += text
        self.unsent += text
        if self.unsent and time.monotonic() - self.sent_at >= FLUSH_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        if self.unsent:
            said, self.unsent = self.unsent, ""
            await self.say("token", text=said)
            self.sent_at = time.monotonic()

    async def look(self) -> None:
        """Send what waits, keep the row, and raise Ended when somebody or something says so."""
        await self.flush()
        if self.stopping.is_set():
            raise Ended(Verdict.STOPPED)
        if time.monotonic() - self.kept_at >= KEEP_SECONDS:
            await self.keep()

    async def keep(self) -> None:
        verdict = await self.step(actions.keep_reply, self.text)
        self.kept_at = time.monotonic()
        if verdict != Verdict.GO_ON:
            raise Ended(verdict)


def stream_name(reply_id: UUID) -> str:
    return f"reply:{reply_id}"


# ---- the loop ------------------------------------------------------------------------------------


class _Loop:
    """The one event loop that carries replies, started with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="relay", daemon=True).start()
            return self._loop


_loop = _Loop()


def start(tenant_id: UUID, reply_id: UUID) -> None:
    """Carry this reply from now on; returns at once. Called after the commit that wrote it."""
    asyncio.run_coroutine_threadsafe(carry(tenant_id, reply_id), _loop.get())


# ---- one reply -----------------------------------------------------------------------------------


async def carry(tenant_id: UUID, reply_id: UUID) -> None:
    """Carry one reply to its end, whatever that is. Raises nothing: its row says how it went."""
    current_tenant_id.set(tenant_id)
    draft = Draft(tenant_id, reply_id)
    ear = asyncio.create_task(_hear_stop(draft))
    with structlog.contextvars.bound_contextvars(tenant=str(tenant_id), reply=str(reply_id)):
        try:
            end = await _end_of(draft)
        finally:
            ear.cancel()
        try:
            await _finish(draft, **end)
        except Exception:
            log.exception("chat.unfinished")  # housekeeping finds the row silent and closes it


async def _end_of(draft: Draft) -> dict[str, Any]:
    """Write the answer, and say how it ended: the arguments of `finish_reply`."""
    try:
        await _write(draft)
    except Ended as ended:
        return _early_end(str(ended))
    except hosts.Refusal as refusal:
        return _failed(_refused(refusal))
    except EngineError as error:
        return _failed(error)
    except Exception:
        log.exception("chat.relay")
        return _failed(InternalError("reply.broken"))
    return {"state": State.COMPLETE}


async def _write(draft: Draft) -> None:
    work: Work | None = await draft.step(actions.begin_reply)
    if work is None:
        raise Ended(Verdict.GONE)
    await draft.say_state("queued", "Waiting for its turn")
    addresses = await _addresses(draft)
    if work.looks_up:
        meaning = await embedders.meaning_of(draft.tenant_id, work.question)
        work = replace(work, passages=await draft.step(actions.look_up, meaning))
    while True:
        draft.passages = [passage.pk for passage in work.passages]
        try:
            await _read_from(draft, addresses, work)
        except hosts.Refusal as refusal:
            less = work.lessened()
            if refusal.code != "context_length_exceeded" or less is None:
                raise
            work = less
        else:
            return


async def _addresses(draft: Draft) -> hosts.Addresses:
    """Where the model answers; waits while a host loads it. Raises InternalError otherwise."""
    began = told = time.monotonic()
    while True:
        place: actions.Place = await draft.step(actions.place_of)
        if place.addresses:
            return place.addresses
        now = time.monotonic()
        if now - began > (WAKE_SECONDS if place.is_starting else PATIENCE_SECONDS):
            raise InternalError("model.not_ready")
        if place.is_starting and now >= told:
            await draft.say_state("queued", f"Waking the model, {now - began:.0f} s so far")
            told = now + 1
        await draft.keep()
        with suppress(TimeoutError):
            await asyncio.wait_for(draft.stopping.wait(), 0.5)
            raise Ended(Verdict.STOPPED)


async def _read_from(draft: Draft, addresses: hosts.Addresses, work: Work) -> None:
    """One exchange with the model server, to its end."""
    settings = {**work.settings, "user": work.caller}
    pieces = hosts.stream_chat(addresses, work.messages(), model=work.model, settings=settings)
    is_read = False
    async with aclosing(hosts.watched(pieces, draft.look, every=LOOK_SECONDS)) as arriving:
        async for piece in arriving:
            if not is_read:
                is_read = True
                await draft.say_state("reading", _reading(len(work.passages)))
            draft.usage = piece.usage or draft.usage
            await draft.add(piece.text)
    await draft.flush()


def _reading(passages: int) -> str:
    if not passages:
        return "Reading your question"
    words = ngettext("Reading %(count)s passage", "Reading %(count)s passages", passages)
    return words % {"count": passages}


async def _hear_stop(draft: Draft) -> None:
    """Notice a stop at once; without the broker it is read from the row, a little later."""
    with suppress(redis.RedisError):
        async for event in live.listen(actions.stop_topic(draft.reply_id)):
            if event is not None:
                draft.stopping.set()
                return


async def _finish(draft: Draft, **end: Any) -> None:
    await draft.flush()
    end |= {"usage": draft.usage, "passages": draft.passages}
    is_ours = await draft.step(actions.finish_reply, draft.text, **end)
    if is_ours:
        log.info(
            "chat.done", state=str(end["state"]), failure=end.get("failure", ""), **draft.usage
        )
    told = end.get("failure_text") or note_of(end["state"], draft.text)
    shown = "" if end.get("failure") == "reply.barred" else draft.text
    await draft.say("done", state=end["state"], text=shown, note=told)


def note_of(state: str, text: str) -> str:
    """What stands under a reply that ended without a failure."""
    if state != State.STOPPED:
        return ""
    count = len(text.split())
    words = ngettext("Stopped after %(count)s word", "Stopped after %(count)s words", count)
    return words % {"count": count}


# ---- how it ended --------------------------------------------------------------------------------


def _early_end(verdict: str) -> dict[str, Any]:
    if verdict == Verdict.BARRED:
        return _failed(InputError("reply.barred"))
    return {"state": State.STOPPED}


def _failed(error: EngineError) -> dict[str, Any]:
    return {"state": State.FAILED, "failure": error.code, "failure_text": sentence(error)}


def _refused(refusal: hosts.Refusal) -> EngineError:
    """A model server's refusal in words for the person who asked."""
    if refusal.code == "context_length_exceeded":
        return InputError("model.context")
    if refusal.status == 429:
        return InternalError("model.busy")
    if refusal.status == 503:
        return InternalError("model.not_ready")
    log.warning("chat.refused", status=refusal.status, code=refusal.code)
    return InternalError("model.refused")
