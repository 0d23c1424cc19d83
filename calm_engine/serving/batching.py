"""Many answers on one model thread: requests join and leave the batch between two tokens.

Prompts are read in chunks between the steps, so that a long one does not hold up the others.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from calm_engine.cache import CalmCache
from calm_engine.drafting import Drafter, Drafting, can_draft
from calm_engine.errors import EngineError
from calm_engine.generation import Answer, Piece, Sampling, end_tokens
from calm_engine.influence import Judged, influence
from calm_engine.serving.line import Line, Loaded, Ticket, fault

logger = logging.getLogger(__name__)

# Prompt tokens read between two steps of the batch: the longest that running answers are held up.
CHUNK = 256
# An answer ends while an augmenter with its own tokenizer can still read so many tokens: one of the
# anchor's may be several of its own, and a row that cannot go on would take the batch with it.
ROOM = 16


class _Row:
    """A ticket that was admitted: its answer, and its own cache while the prompt is read."""

    def __init__(self, ticket: Ticket, loaded: Loaded, ends: frozenset[int]) -> None:
        self.ticket = ticket
        self.answer = Answer(loaded.tokenizer, ticket.sampling, ends, ticket.held)
        self.cache: CalmCache = loaded.model.new_cache()
        self.read = 0  # prompt tokens in the cache

    @property
    def gate(self) -> float:
        return self.ticket.sampling.gate

    @property
    def left(self) -> int:
        return len(self.ticket.prompt) - self.read

    @property
    def is_over(self) -> bool:
        return self.ticket.cancelled or self.answer.finish is not None


class _Batch:
    """Rows that take their next token together, over one joined cache.

    The bare anchor and the composition step apart: with the gate at 0 the augmenters do not run,
    so the two kinds of cache do not fit together. A row that is alone takes several tokens at a
    step where the augmenter drafts them.
    """

    def __init__(self, model: Any, *, is_open: bool, drafting: Drafting | None = None) -> None:
        self._model = model
        self._is_open = is_open
        self._drafting = drafting
        self._drafter: Drafter | None = None  # of the row that is alone, on the cache as it is
        self._cache: CalmCache = model.new_cache()
        self.rows: list[_Row] = []

    def join(self, rows: Sequence[_Row]) -> None:
        """Take in rows whose prompts are read."""
        if rows:
            self._drafter = None
            self.rows.extend(rows)  # first, so that a failure tells them as well
            self._cache = CalmCache.join([self._cache, *(row.cache for row in rows)])

    def leave(self) -> list[_Row]:
        """Drop the rows that are over, and return them."""
        gone = [row for row in self.rows if row.is_over]
        if gone:
            self._drafter = None
            stay = [i for i, row in enumerate(self.rows) if not row.is_over]
            self.rows = [self.rows[i] for i in stay]
            self._cache = (
                self._cache.select(torch.tensor(stay, device=self._model.device))
                if stay
                else self._model.new_cache()
            )
        return gone

    def empty(self) -> list[_Row]:
        """Drop every row and the cache, and return the rows."""
        gone, self.rows, self._drafter = self.rows, [], None
        self._cache = self._model.new_cache()
        return gone

    def step(self) -> list[tuple[_Row, Piece]]:
        """Draw a token for every row; for one that is alone those that its drafts bring as well."""
        if self._drafting is not None and len(self.rows) == 1:
            return self._step_alone(self.rows[0], self._drafting)
        newest = [[row.answer.tokens[-1]] for row in self.rows]
        logits = self._forward(newest, self._cache, self._gate(self.rows))
        return list(zip(self.rows, self._take(self.rows, logits, self._cache), strict=True))

    def _step_alone(self, row: _Row, drafting: Drafting) -> list[tuple[_Row, Piece]]:
        answer = row.answer
        if self._drafter is None:
            self._cache.trim()  # of padding that those who left needed
            self._drafter = Drafter(
                self._model,
                drafting,
                gate=row.gate,
                ends=answer.ends,
                guess=answer.chooser.guess,
                cache=self._cache,
            )
        pieces = []
        left = row.ticket.sampling.max_new_tokens - len(answer.tokens)
        for logits in self._drafter.round(answer.tokens[-1], left):
            pieces.append((row, answer.take(logits)))
            if not self._drafter.drew(answer.tokens[-1]) or row.is_over:
                break
        self._drafter.keep()
        return pieces

    def read(self, row: _Row, count: int) -> Piece | None:
        """Read `count` more prompt tokens of a row; its first piece when the prompt is read."""
        fresh = row.ticket.prompt[row.read : row.read + count]
        logits = self._forward([list(fresh)], row.cache, self._gate([row]))
        row.read += len(fresh)
        return None if row.left else self._take([row], logits, row.cache)[0]

    def _take(self, rows: Sequence[_Row], logits: torch.Tensor, cache: CalmCache) -> list[Piece]:
        full = self._model.streams.full(cache, spare=ROOM)
        pairs = enumerate(zip(rows, logits, strict=True))
        return [row.answer.take(one, is_last=at in full) for at, (row, one) in pairs]

    def _gate(self, rows: list[_Row]) -> Any:
        if not self._is_open:
            return 0.0
        if all(row.gate == 1.0 for row in rows):
            return 1.0
        gates = [row.gate for row in rows]
        return torch.tensor(gates, dtype=self._model.dtype, device=self._model.device)

    def _forward(self, ids: list[list[int]], cache: CalmCache, gate: Any) -> torch.Tensor:
        """Logits of the newest position of each row, (rows, vocabulary), on the CPU."""
        out = self._model(
            input_ids=torch.tensor(ids, device=self._model.device),
            past_key_values=cache,
            use_cache=True,
            gate=gate,
            logits_to_keep=1,
        )
        logits: torch.Tensor = out.logits[:, -1].float().cpu()
        return logits


class Batcher(Line[Ticket, Loaded]):
    """The line before a model that torch plays: loads it, then steps the batch while there is work.

    load      called on the model thread; whatever it raises ends up in `failure`
    drafting  how far ahead the augmenter speaks for an answer that is alone; None: never
    """

    def __init__(
        self, load: Callable[[], Loaded], *, drafting: Drafting | None = None, **how: Any
    ) -> None:
        super().__init__(**how)
        self._load, self._drafting = load, drafting
        self._reading: deque[_Row] = deque()
        self._read: list[_Row] = []  # whose prompts are read, on their way into a batch

    def _open(self) -> Loaded:
        loaded = self._load()
        self._ends = end_tokens(loaded.model, loaded.tokenizer)
        ahead = self._drafting if can_draft(loaded.model) else None
        self._composed = _Batch(loaded.model, is_open=True, drafting=ahead)
        self._bare = _Batch(loaded.model, is_open=False)
        self._warm(loaded)
        return loaded

    @torch.inference_mode()
    def _warm(self, loaded: Loaded) -> None:
        """Answer two tokens of each kind, so that the first person does not wait for kernels."""
        for batch, gate in ((self._composed, 1.0), (self._bare, 0.0)):
            how = Sampling(max_new_tokens=2, temperature=0.0, gate=gate)
            row = _Row(Ticket((0, 0), how, deliver=lambda _: None), loaded, frozenset())
            batch.read(row, 2)
            batch.join([row])
            batch.step()
            batch.empty()

    @torch.inference_mode()
    def _turn(self, loaded: Loaded) -> None:
        self._leave()
        self._read_prompts(loaded)
        for batch in (self._composed, self._bare):
            if batch.rows:
                self._step(batch)

    def _rows(self) -> list[_Row]:
        return [*self._composed.rows, *self._bare.rows, *self._reading, *self._read]

    def _callers(self) -> list[str]:
        return [row.ticket.caller for row in self._rows()]

    def _leave(self) -> None:
        """Rows that are over go, and tickets that were cancelled while they waited."""
        for batch in (self._composed, self._bare):
            with self._telling(batch):
                for row in batch.leave():
                    if row.answer.finish is None:
                        logger.info("cancelled after %d tokens", len(row.answer.tokens))
        self._reading = deque(row for row in self._reading if not row.is_over)
        self._forget_cancelled()

    def _read_prompts(self, loaded: Loaded) -> None:
        """Read up to CHUNK prompt tokens; rows whose prompt is read join their batch together."""
        budget = CHUNK
        while budget > 0 and (row := self._next_row(loaded)) is not None:
            count = min(budget, row.left)
            budget -= count
            if self._read_some(row, count) and not row.is_over:
                self._read.append(row)
        read, self._read = self._read, []
        for batch in (self._composed, self._bare):
            with self._telling(batch):
                batch.join([row for row in read if self._batch_of(row) is batch])

    def _next_row(self, loaded: Loaded) -> _Row | None:
        """The row whose prompt is being read, or else the next that waits if there is a place."""
        if self._reading:
            return self._reading[0]
        if self._under_way() >= self._most:
            return None
        ticket = self._next()
        if ticket is None:
            return None
        self._reading.append(_Row(ticket, loaded, self._ends))
        return self._reading[0]

    def _read_some(self, row: _Row, count: int) -> bool:
        """Read on in one prompt. True when it is read and the first piece was delivered."""
        try:
            piece = self._batch_of(row).read(row, count)
        except Exception as error:
            logger.exception("reading a prompt failed")
            self._reading.popleft()
            row.ticket.deliver(_fault(error))
            return False
        self.meters.prompt_tokens.inc(count)
        if piece is None:
            return False
        self._reading.popleft()
        self.meters.first_token.observe(time.monotonic() - row.ticket.asked)
        self._deliver(row, piece)
        return True

    def _step(self, batch: _Batch) -> None:
        with self._telling(batch), self.meters.step.time():
            for row, piece in batch.step():
                self._deliver(row, piece)

    @contextlib.contextmanager
    def _telling(self, batch: _Batch) -> Iterator[None]:
        """A batch that fails is emptied and its people are told; the thread goes on."""
        try:
            yield
        except Exception as error:
            logger.exception("a batch failed")
            for row in batch.empty():
                row.ticket.deliver(_fault(error))

    def _batch_of(self, row: _Row) -> _Batch:
        return self._composed if row.gate > 0.0 else self._bare

    def _deliver(self, row: _Row, piece: Piece) -> None:
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

    def _judge(self, row: _Row) -> Judged:
        """Two passes over the whole text; they hold up the other answers meanwhile."""
        assert self.loaded is not None  # rows come after the model
        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        text = [*row.ticket.prompt, *row.answer.tokens]
        ids = torch.tensor([text], device=model.device)
        told = influence(model, ids, len(row.ticket.prompt), gate=row.gate)
        return Judged(tuple(tokenizer.decode([token]) for token in text), tuple(told))

    def _begun(self) -> list[Ticket]:
        rows = [*self._composed.empty(), *self._bare.empty(), *self._reading]
        self._reading.clear()
        return [row.ticket for row in rows if not row.is_over]


def _fault(error: Exception) -> EngineError:
    """What the asker is told; torch has its own word for a full device."""
    return fault(MemoryError() if isinstance(error, torch.OutOfMemoryError) else error)
