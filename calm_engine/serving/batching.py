"""Many answers on one model thread: requests join and leave the batch between two tokens.

Prompts are read in chunks between the steps, so that a long one does not hold up the others.
Several compositions on one anchor take turns on the thread, each with a batch of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from calm_engine.drafting import Drafting
from calm_engine.errors import EngineError, InputError, InternalError
from calm_engine.generation import Piece
from calm_engine.influence import Judged, influence
from calm_engine.process import memory_free
from calm_engine.serving.batches import Batch, Desk, Reading, Row
from calm_engine.serving.line import Line, Loaded, Ticket, fault

logger = logging.getLogger(__name__)

# Prompt tokens read between two steps of the batch: the longest that running answers are held up.
CHUNK = 256


Told = Callable[[Exception | None], None]


class Batcher(Line[Ticket, Mapping[str, Loaded]]):
    """The line before models that torch plays: loads them, then steps while there is work.

    load         called on the model thread; gives each model by its key. Whatever it raises ends up
                 in `failure`
    drafting     how far ahead the augmenter speaks for an answer that is alone; None: never
    cache_bytes  that keys and values may fill; None: half of what is free beside the weights, since
                 rows that join are copied once
    """

    def __init__(
        self,
        load: Callable[[], Mapping[str, Loaded]],
        *,
        drafting: Drafting | None = None,
        cache_bytes: int | None = None,
        **how: Any,
    ) -> None:
        super().__init__(**how)
        self._load, self._drafting, self._cache_bytes = load, drafting, cache_bytes
        self._room = 0  # bytes for keys and values
        self._desks: dict[str, Desk] = {}
        self._coming: dict[str, tuple[Loaded, Told]] = {}
        self._leaving: dict[str, float] = {}  # until when answers under way may still take
        self._reading: deque[Reading] = deque()
        self._read: list[Reading] = []  # whose prompts are read, on their way into a batch

    # -- from any thread ---------------------------------------------------------------------------

    def take_in(self, key: str, loaded: Loaded, told: Told) -> None:
        """Serve one more model from the next turn on.

        told   called on the model thread when it may be asked, or with what went wrong
        """
        with self._work:
            self._coming[key] = loaded, told
            self._work.notify()

    def let_go(self, key: str, *, within: float) -> None:
        """Take no more requests for a model, and forget it when its answers have ended.

        within   seconds that they may take; those that take longer are told that it left
        """
        with self._work:
            self._coming.pop(key, None)
            if key in (self.loaded or {}):
                self._leaving.setdefault(key, time.monotonic() + within)
            self._work.notify()

    def is_leaving(self, key: str) -> bool:
        return key in self._leaving or key not in (self.loaded or {})

    def most_tokens(self, key: str, *, bare: bool) -> int | None:
        desk = self._desks.get(key)
        return None if desk is None else self._room // desk.each[not bare]

    # -- on the model thread -----------------------------------------------------------------------

    def _open(self) -> Mapping[str, Loaded]:
        found = self._load()
        for key, loaded in found.items():
            self._desks[key] = self._desk(loaded)
        self._measure()
        return found

    @torch.inference_mode()
    def _desk(self, loaded: Loaded) -> Desk:
        desk = Desk(loaded, self._drafting)
        desk.warm()
        return desk

    def _measure(self) -> None:
        """See how much keys and values may fill, now that the weights are there."""
        self._room = self._cache_bytes or (_free(self._desks) + self._held()) // 2
        self.meters.cache_room.set(self._room)

    def _held(self) -> int:
        return sum(desk.held() for desk in self._desks.values())

    def _has_news(self) -> bool:
        return bool(self._coming or self._leaving)

    @torch.inference_mode()
    def _turn(self, loaded: Mapping[str, Loaded]) -> None:  # noqa: ARG002  they come and go
        self._come_and_go()
        self._leave()
        self._read_prompts()
        for desk in self._desks.values():
            for batch in desk.batches:
                if batch.rows:
                    self._step(batch)
        self.meters.cache.set(self._held())

    def _come_and_go(self) -> None:
        """Models that were loaded sit down; those that leave do so when nobody needs them."""
        with self._work:  # whoever comes back waits until it has left
            later = {key: it for key, it in self._coming.items() if key in self._leaving}
            coming = {key: it for key, it in self._coming.items() if key not in later}
            self._coming = later
        for key, (loaded, told) in coming.items():
            try:
                self._desks[key] = self._desk(loaded)
            except Exception as error:
                logger.exception("a model that came cannot play")
                told(error)
                continue
            self.loaded = {**(self.loaded or {}), key: loaded}
            told(None)
        gone = [key for key, until in [*self._leaving.items()] if self._has_left(key, until)]
        if coming or gone:
            self._measure()

    def _has_left(self, key: str, until: float) -> bool:
        waiting = self._asked_for(key)
        if waiting and time.monotonic() < until:
            return False
        for ticket in waiting:
            ticket.deliver(InputError("server.draining"))
            ticket.cancel()
        self._leave()
        del self._desks[key]
        with self._work:
            self.loaded = {one: it for one, it in (self.loaded or {}).items() if one != key}
            del self._leaving[key]
        _give_back()
        return True

    def _asked_for(self, key: str) -> list[Ticket]:
        with self._work:
            return [one for one in (*self._current(), *self._waiting) if one.model == key]

    def _current(self) -> list[Ticket]:
        seated = [row for desk in self._desks.values() for row in desk.rows]
        coming = [row for one in (*self._reading, *self._read) for row in one.rows]
        return [row.ticket for row in (*seated, *coming)]

    def _leave(self) -> None:
        """Rows that are over go, and tickets that were cancelled while they waited."""
        for desk in self._desks.values():
            for batch in desk.batches:
                with self._telling(batch):
                    for row in batch.leave():
                        if row.answer.finish is None:
                            logger.info("cancelled after %d tokens", len(row.answer.tokens))
        for reading in self._reading:
            reading.drop_over()
        self._reading = deque(one for one in self._reading if one.rows)
        self._forget_cancelled()

    def _read_prompts(self) -> None:
        """Read up to CHUNK prompt tokens; rows whose prompt is read join their batch together."""
        budget = CHUNK
        while budget > 0 and (reading := self._next_reading(budget)) is not None:
            count = min(budget, reading.left)
            budget -= count * len(reading.rows)
            if self._read_some(reading, count):
                self._read.append(reading)
        read, self._read = self._read, []
        for desk in self._desks.values():
            for batch in desk.batches:
                with self._telling(batch):
                    batch.join([one for one in read if one.batch is batch])

    def _next_reading(self, most: int) -> Reading | None:
        """The prompt that is being read, or else the next that wait and have a place: as many as
        are read whole in one pass of so many tokens. One that is longer begins a turn."""
        if self._reading:
            return self._reading[0]
        row = self._next_row(lambda one: len(one.prompt) <= most or most == CHUNK)
        if row is None:
            return None
        reading = Reading(self._batch_of(row.ticket), row)
        self._reading.append(reading)

        def goes_along(ticket: Ticket) -> bool:
            return self._batch_of(ticket) is reading.batch and reading.may_take(ticket, most)

        while (row := self._next_row(goes_along)) is not None:
            reading.rows.append(row)
        return reading

    def _next_row(self, wanted: Callable[[Ticket], bool]) -> Row | None:
        """The next that waits, if there is a place for it and it is wanted now."""
        under_way = self._current()
        if len(under_way) >= self._most:
            return None
        ticket = self._next(
            lambda one: wanted(one) and (not under_way or self._fits(one, under_way))
        )
        if ticket is None:
            return None
        if not self._fits(ticket, under_way):  # nor will it when others have ended
            ticket.deliver(InternalError("server.memory"))
            return None
        desk = self._desks[ticket.model]
        return Row(ticket, desk.loaded, desk.ends)

    def _fits(self, ticket: Ticket, under_way: list[Ticket]) -> bool:
        """Whether all of these may come to their longest together."""
        every = [*under_way, ticket]
        needed = sum(
            desk.needs([one for one in every if one.model == key])
            for key, desk in self._desks.items()
        )
        return needed <= self._room

    def _read_some(self, reading: Reading, count: int) -> bool:
        """Read on. True when all is read, first pieces are delivered, and rows are left to join."""
        try:
            pieces = reading.batch.read(reading, count)
        except Exception as error:
            logger.exception("reading a prompt failed")
            self._reading.popleft()
            if len(reading.rows) > 1 and not reading.read:  # one of them may be at fault
                self._reading.extend(Reading(reading.batch, row) for row in reading.rows)
                return False
            for row in reading.rows:
                row.ticket.deliver(_fault(error))
            return False
        if reading.left:
            self.meters.prompt_tokens.inc(count)
            return False
        self._reading.popleft()
        for row, piece in pieces:
            self.meters.prompt_tokens.inc(min(count, len(row.ticket.prompt)))
            self.meters.first_token.observe(time.monotonic() - row.ticket.asked)
            self._deliver(row, piece)
        reading.drop_over()
        return bool(reading.rows)

    def _step(self, batch: Batch) -> None:
        with self._telling(batch), self.meters.step.time():
            for row, piece in batch.step():
                self._deliver(row, piece)

    @contextlib.contextmanager
    def _telling(self, batch: Batch) -> Iterator[None]:
        """A batch that fails is emptied and its people are told; the thread goes on."""
        try:
            yield
        except Exception as error:
            logger.exception("a batch failed")
            for row in batch.empty():
                row.ticket.deliver(_fault(error))

    def _batch_of(self, ticket: Ticket) -> Batch:
        return self._desks[ticket.model].batch_of(ticket)

    def _deliver(self, row: Row, piece: Piece) -> None:
        self.meters.drawn_tokens.inc()
        if row.ticket.cancelled:
            return
        if piece.finish is None or not row.ticket.is_judged:
            row.ticket.deliver(piece)
            return
        try:
            row.ticket.deliver(replace(piece, judged=self._judge(row)))
        except Exception as error:
            logger.exception("judging an answer failed")
            row.ticket.deliver(_fault(error))

    def _judge(self, row: Row) -> Judged:
        """Two passes over the whole text; they hold up the other answers meanwhile."""
        loaded = self._desks[row.ticket.model].loaded
        model, tokenizer = loaded.model, loaded.tokenizer
        text = [*row.ticket.prompt, *row.answer.tokens]
        ids = torch.tensor([text], device=model.device)
        told = influence(model, ids, len(row.ticket.prompt), gate=row.gate)
        return Judged(tuple(tokenizer.decode([token]) for token in text), tuple(told))

    def _begun(self) -> list[Ticket]:
        batches = [batch for desk in self._desks.values() for batch in desk.batches]
        rows = [row for batch in batches for row in batch.empty()]
        rows += [row for reading in self._reading for row in reading.rows]
        self._reading.clear()
        return [row.ticket for row in rows if not row.is_over]


def _give_back() -> None:
    """Let the system have what a model left: its modules know each other in circles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def _free(desks: Mapping[str, Desk]) -> int:
    """Bytes that nobody has, of the device or of the machine."""
    devices = [desk.loaded.model.device for desk in desks.values()]
    if not devices or devices[0].type != "cuda":
        return memory_free()
    kept = torch.cuda.memory_reserved(devices[0]) - torch.cuda.memory_allocated(devices[0])
    return int(torch.cuda.mem_get_info(devices[0])[0]) + kept


def _fault(error: Exception) -> EngineError:
    """What the asker is told; torch has its own word for a full device."""
    return fault(MemoryError() if isinstance(error, torch.OutOfMemoryError) else error)
