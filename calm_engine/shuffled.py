"""A prepared corpus, dealt out in one order for each pass over it. Knows no model and no loss.

Every pass is a new shuffle of all blocks, a function of the seed and the pass. What is left out
leaves its place empty, so all other places stay: a training without a document takes, up to the
step that would first have met it, the very steps of the training with it. The first of several
passes deals documents alone, and what was prepared apart from them only after it: a document with
lessons all over the corpus would else be met at once, and forgotten from the beginning only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from calm_engine.exposures import Exposure
from calm_engine.feeding import Feed, Row
from calm_engine.hearing import Headers
from calm_engine.shards import Met, Shards
from calm_engine.words import Candidates, Words

Order = np.ndarray[Any, np.dtype[np.int64]]


class Shuffled(Feed):
    """Blocks of the corpus, with a share of general text among them.

    size     blocks of a step
    passes   how often the corpus is met
    general  prepared public text, drawn anew for each pass;  share  of a pass's blocks it makes up,
             or all of it where that is less
    without  digests of documents that are never dealt
    known    digests of documents that the model knows from before: of the blocks that hold nothing
             else only so many are dealt that they make up the share `replay`
    """

    def __init__(
        self,
        shards: Shards,
        *,
        size: int,
        passes: int,
        seed: int,
        general: Shards | None = None,
        share: float = 0.0,
        without: Collection[str] = (),
        known: Collection[str] = (),
        replay: float = 0.5,
        headers: Headers = (),
    ) -> None:
        self._held: tuple[int, Order] = (-1, np.empty(0, dtype=np.int64))
        self.shards, self.general = shards, general
        self.size, self.seed = size, seed
        self.prefix, self.pad, self.headers = shards.prefix, shards.pad, headers
        self.without = frozenset(without)
        self._left_out = frozenset((one.shard, one.number) for one in self._documents(self.without))
        self._fresh, self._old = _parted(shards, known)
        wanted = _beside(len(self._fresh), replay) if len(self._fresh) else len(self._old)
        self._replayed = min(len(self._old), wanted)
        main = len(self._fresh) + self._replayed
        self._general = min(_beside(main, share), len(general)) if general else 0
        self.in_pass = -(-(main + self._general) // size)  # steps
        self.passes = passes
        self.in_first = -(-len(self._order(0)) // size)  # steps of the first pass

    @property
    def steps(self) -> int:
        return self._begins(self.passes)

    def rows(self, step: int) -> list[Row]:
        number, place = self._at(step)
        chosen = self._order(number)[place * self.size : (place + 1) * self.size]
        rows = (self._row(int(block)) for block in chosen)
        return [row for row in rows if row]

    def among(self, step: int, rows: Sequence[Row]) -> Candidates:
        """The step's own tokens and a sample of all others: no other document has a say in it."""
        own = {self.pad, *(token for row in rows for piece in row for token in piece.tokens())}
        words = Words(torch.tensor(sorted(own)), self.shards.vocabulary, seed=self.seed)
        return words.candidates(step)

    def cursor(self, step: int) -> dict[str, int]:
        number, place = self._at(step)
        return {"pass": number, "block": place * self.size}

    def exposures(self, steps: int) -> Iterator[Exposure]:
        """How often each document is met in so many steps, and when first."""
        passes = range(self.passes)
        met = [self._steps_of_blocks(n, steps) for n in passes if self._begins(n) < steps]
        told: dict[str, tuple[float, int]] = {}  # a document's words and lessons lie apart
        for one in self.shards.documents():
            # (passes, blocks of the document); a step past the end is none
            found = np.stack([when[list(one.blocks)] for when in met])
            a_block = one.pieces / max(1, len(one.blocks))
            count, first = told.get(one.digest, (0.0, steps))
            if one.blocks and one.digest not in self.without:
                count += float((found < steps).sum()) * a_block
                first = min(first, int(found.min()))
            told[one.digest] = (count, first)
        for digest, (count, first) in told.items():
            yield Exposure(digest, round(count), first if first < steps else None)

    def first_step(self, digests: Collection[str]) -> int:
        """The step that would first meet one of these documents; `steps` when none does."""
        blocks = [block for one in self._documents(digests) for block in one.blocks]
        if not blocks:
            return self.steps
        first = (self._steps_of_blocks(n, self.steps)[blocks].min() for n in range(self.passes))
        return next((int(step) for step in first if step < self.steps), self.steps)

    def _begins(self, number: int) -> int:
        """The step that begins a pass."""
        return 0 if number == 0 else self.in_first + (number - 1) * self.in_pass

    def _at(self, step: int) -> tuple[int, int]:
        """The pass of a step, and its place in the pass."""
        if step < self.in_first:
            return 0, step
        number, place = divmod(step - self.in_first, self.in_pass)
        return number + 1, place

    def _documents(self, digests: Collection[str]) -> list[Met]:
        return [one for one in self.shards.documents() if one.digest in digests] if digests else []

    def _row(self, block: int) -> Row:
        main = len(self.shards)
        if block >= main:
            assert self.general is not None
            return self.general.row(block - main)
        return self.shards.row(block, self._left_out)

    def _order(self, number: int) -> Order:
        """The blocks of a pass; general ones are counted on from the corpus's own."""
        if self._held[0] != number:
            chance = np.random.default_rng([self.seed, number])
            chosen = [self._fresh, chance.permutation(self._old)[: self._replayed]]
            if number == 0 and self.passes > 1:
                chosen = [blocks[blocks < self.shards.own] for blocks in chosen]
            if self.general is not None:
                # Each general block once before any comes again.
                there = len(self.general)
                at = np.arange(number * self._general, (number + 1) * self._general) % there
                order = np.random.default_rng([self.seed]).permutation(there)
                chosen.append(len(self.shards) + order[at])
            self._held = (number, chance.permutation(np.concatenate(chosen)))
        return self._held[1]

    def _steps_of_blocks(self, number: int, steps: int) -> Order:
        """The step of a pass that meets each block; `steps` where none does."""
        when = np.full(len(self.shards), steps, dtype=np.int64)
        order = self._order(number)
        places = np.flatnonzero(order < len(self.shards))
        when[order[places]] = np.minimum(steps, self._begins(number) + places // self.size)
        return when


def _beside(count: int, share: float) -> int:
    """How many more there must be for them to make up this share of all."""
    return round(count * share / (1.0 - share))


def _parted(shards: Shards, known: Collection[str]) -> tuple[Order, Order]:
    """Blocks that hold something new, and those that hold nothing but known documents."""
    is_new = np.zeros(len(shards), dtype=bool)
    for one in shards.documents():
        if one.digest not in known:
            is_new[list(one.blocks)] = True
    return np.flatnonzero(is_new), np.flatnonzero(~is_new)
