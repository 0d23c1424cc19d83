"""The rows of one model that take their next token together, and the memory that they take.

Knows no queue and no thread: `batching` says who joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from calm_engine.cache import CalmCache
from calm_engine.costs import cache_of
from calm_engine.drafting import Drafter, Drafting, can_draft
from calm_engine.generation import Answer, Piece, Sampling, end_tokens
from calm_engine.serving.line import Loaded, Ticket

# An answer ends while an augmenter with its own tokenizer can still read so many tokens: one of the
# anchor's may be several of its own, and a row that cannot go on would take the batch with it.
ROOM = 16


class Row:
    """A ticket that was admitted, and its answer."""

    def __init__(self, ticket: Ticket, loaded: Loaded, ends: frozenset[int]) -> None:
        self.ticket = ticket
        self.answer = Answer(loaded.tokenizer, ticket.sampling, ends, ticket.held)

    @property
    def gate(self) -> float:
        return self.ticket.sampling.gate

    @property
    def is_over(self) -> bool:
        return self.ticket.cancelled or self.answer.finish is not None


class Reading:
    """Prompts on their way into a batch: short ones in one pass together, a long one in pieces.

    read   tokens of the longest that are in the cache
    """

    def __init__(self, batch: Batch, row: Row) -> None:
        self.batch = batch
        self.rows = [row]
        self.cache: CalmCache = batch.new_cache()
        self.read = 0

    @property
    def longest(self) -> int:
        return max(len(row.ticket.prompt) for row in self.rows)

    @property
    def left(self) -> int:
        return self.longest - self.read

    def may_take(self, ticket: Ticket, most: int) -> bool:
        """Whether one more can be read along: all whole, padding counted, in so many tokens."""
        longest = max(self.longest, len(ticket.prompt))
        return not self.read and (len(self.rows) + 1) * longest <= most

    def drop_over(self) -> None:
        """Let rows go that are over before they joined."""
        stay = [at for at, row in enumerate(self.rows) if not row.is_over]
        if len(stay) < len(self.rows):
            self.rows = [self.rows[at] for at in stay]
            self.cache = self.batch.chosen(self.cache, stay)


class Batch:
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
        self._cache = self.new_cache()
        self.rows: list[Row] = []

    def new_cache(self) -> CalmCache:
        cache: CalmCache = self._model.new_cache()
        return cache

    def chosen(self, cache: CalmCache, rows: Sequence[int]) -> CalmCache:
        """A cache with these rows of another one."""
        if not rows:
            return self.new_cache()
        return cache.select(torch.tensor(rows, device=self._model.device))

    def join(self, readings: Sequence[Reading]) -> None:
        """Take in rows whose prompts are read."""
        if readings:
            self._drafter = None
            for one in readings:  # first, so that a failure tells them as well
                self.rows.extend(one.rows)
            self._cache = CalmCache.join([self._cache, *(one.cache for one in readings)])

    def leave(self) -> list[Row]:
        """Drop the rows that are over, and return them."""
        gone = [row for row in self.rows if row.is_over]
        if gone:
            self._drafter = None
            stay = [i for i, row in enumerate(self.rows) if not row.is_over]
            self.rows = [self.rows[i] for i in stay]
            self._cache = self.chosen(self._cache, stay)
        return gone

    @property
    def tokens(self) -> int:
        """Places for tokens in its cache now, those of padding too."""
        return self._cache.rows * self._cache.get_seq_length()

    def empty(self) -> list[Row]:
        """Drop every row and the cache, and return the rows."""
        gone, self.rows, self._drafter = self.rows, [], None
        self._cache = self.new_cache()
        return gone

    def step(self) -> list[tuple[Row, Piece]]:
        """Draw a token for every row; for one that is alone those that its drafts bring as well."""
        if self._drafting is not None and len(self.rows) == 1:
            return self._step_alone(self.rows[0], self._drafting)
        newest = [(row.answer.tokens[-1],) for row in self.rows]
        logits = self._forward(newest, self._cache, self._gate(self.rows))
        return list(zip(self.rows, self._take(self.rows, logits, self._cache), strict=True))

    def _step_alone(self, row: Row, drafting: Drafting) -> list[tuple[Row, Piece]]:
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

    def read(self, reading: Reading, count: int) -> list[tuple[Row, Piece]]:
        """Read `count` more tokens of a prompt; each row's first piece when all of it is read.

        Several prompts are read whole: `count` is then the length of the longest.
        """
        rows, mask = reading.rows, None
        if len(rows) == 1:
            ids = [rows[0].ticket.prompt[reading.read :][:count]]
        else:
            spare = [count - len(row.ticket.prompt) for row in rows]
            ids = [(0,) * pad + row.ticket.prompt for pad, row in zip(spare, rows, strict=True)]
            mask = torch.tensor([[0] * pad + [1] * (count - pad) for pad in spare])
        logits = self._forward(ids, reading.cache, self._gate(rows), mask)
        reading.read += count
        if reading.left:
            return []
        return list(zip(rows, self._take(rows, logits, reading.cache), strict=True))

    def _take(self, rows: Sequence[Row], logits: torch.Tensor, cache: CalmCache) -> list[Piece]:
        full = self._model.streams.full(cache, spare=ROOM)
        pairs = enumerate(zip(rows, logits, strict=True))
        return [row.answer.take(one, is_last=at in full) for at, (row, one) in pairs]

    def _gate(self, rows: list[Row]) -> Any:
        if not self._is_open:
            return 0.0
        if all(row.gate == 1.0 for row in rows):
            return 1.0
        gates = [row.gate for row in rows]
        return torch.tensor(gates, dtype=self._model.dtype, device=self._model.device)

    def _forward(
        self,
        ids: Sequence[tuple[int, ...]],
        cache: CalmCache,
        gate: Any,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits of the newest position of each row, (rows, vocabulary), on the CPU."""
        out = self._model(
            input_ids=torch.tensor(ids, device=self._model.device),
            attention_mask=None if mask is None else mask.to(self._model.device),
            past_key_values=cache,
            use_cache=True,
            gate=gate,
            logits_to_keep=1,
        )
        logits: torch.Tensor = out.logits[:, -1].float().cpu()
        return logits


class Desk:
    """One model at the model thread: its rows, and those of its bare anchor.

    each   bytes that a token leaves in the caches, by whether the augmenters read it too
    """

    def __init__(self, loaded: Loaded, drafting: Drafting | None) -> None:
        model = loaded.model
        self.loaded = loaded
        self.ends = end_tokens(model, loaded.tokenizer)
        ahead = drafting if can_draft(model) else None
        self.composed = Batch(model, is_open=True, drafting=ahead)
        self.bare = Batch(model, is_open=False)
        self.batches = (self.composed, self.bare)
        kept = cache_of(model)
        self.each = {True: sum(kept.values()), False: kept["anchor"]}

    @property
    def rows(self) -> list[Row]:
        return [*self.composed.rows, *self.bare.rows]

    def batch_of(self, ticket: Ticket) -> Batch:
        return self.composed if is_open(ticket) else self.bare

    def needs(self, tickets: Sequence[Ticket]) -> int:
        """Bytes that these will hold at their longest: a batch is as wide as its longest row."""
        total = 0
        for opened, each in self.each.items():
            found = [longest(one) for one in tickets if is_open(one) == opened]
            total += len(found) * max(found, default=0) * each
        return total

    def held(self) -> int:
        """Bytes in the caches of its batches now."""
        return self.composed.tokens * self.each[True] + self.bare.tokens * self.each[False]

    def warm(self) -> None:
        """Answer two tokens of each kind, so that the first person does not wait for kernels."""
        for batch, gate in ((self.composed, 1.0), (self.bare, 0.0)):
            how = Sampling(max_new_tokens=2, temperature=0.0, gate=gate)
            row = Row(Ticket((0, 0), how, deliver=lambda _: None), self.loaded, frozenset())
            reading = Reading(batch, row)
            batch.read(reading, 2)
            batch.join([reading])
            batch.step()
            batch.empty()


def is_open(ticket: Ticket) -> bool:
    """Whether the augmenters read it too."""
    return ticket.sampling.gate > 0.0


def longest(ticket: Ticket) -> int:
    """Tokens that prompt and answer may come to."""
    return len(ticket.prompt) + ticket.sampling.max_new_tokens
