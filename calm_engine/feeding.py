"""What every step of teaching reads: packed rows, as a function of the step's number alone.

Knows how a course is dealt out; knows no model, no device and no loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch

from calm_engine.course import Course
from calm_engine.data import Packed, Piece, chance_of, collate, end_of_answer
from calm_engine.exposures import Exposure, tallied
from calm_engine.hearing import HEARD, Headers, conversed, headers_of
from calm_engine.ranks import Ranks
from calm_engine.words import Candidates, Words

Row = list[Piece]


@dataclass(frozen=True)
class Batch:
    """A step's batch: our parts of it, and what is true of the whole.

    parts  each with its weight: the share of the whole batch's words that are to be said in it
    among  what its loss is normalised over
    """

    parts: tuple[tuple[Packed, float], ...]
    among: Candidates


class Feed(ABC):
    """Rows for every step, and what they stand for.

    prefix   what stands at the head of every row
    pad      fills short rows
    headers  of `hearing`: in some steps rows are read as conversations
    seed     of the chance in which
    limit    positions that the model has
    """

    prefix: Sequence[int]
    pad: int
    headers: Headers
    seed: int
    limit: int = 8192

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps until everything was met as often as it should be."""

    @abstractmethod
    def rows(self, step: int) -> list[Row]:
        """The packed rows of a step; none where all that stood there was left out."""

    @abstractmethod
    def among(self, step: int, rows: Sequence[Row]) -> Candidates:
        """The tokens that the step's loss is normalised over."""

    @abstractmethod
    def cursor(self, step: int) -> dict[str, int]:
        """Where in the data a step stands, for whoever reads a checkpoint."""

    @abstractmethod
    def exposures(self, steps: int) -> Iterator[Exposure]:
        """How often each document is met in so many steps, and when first."""

    def tokens(self, step: int) -> int:
        """Tokens that a step reads, the prefixes counted."""
        return sum(len(self.prefix) + sum(p.size for p in row) for row in self.rows(step))

    def batch(self, step: int, ranks: Ranks, parts: int) -> Batch:
        """Our parts of a step's batch.

        Of several processes each has as many parts as any other, since they wait for one another
        in each: where there are too few rows, a row that stands elsewhere is read at no weight.
        """
        rows = self._heard(step)
        said = sum(piece.targets for row in rows for piece in row)
        dealt = []
        for share in ranks.share(rows, parts) if rows else ():
            if share:
                dealt.append(
                    (self.collated(share), sum(p.targets for r in share for p in r) / said)
                )
            elif ranks.count > 1:
                dealt.append((self.collated(rows[:1]), 0.0))
        return Batch(tuple(dealt), self.among(step, rows))

    def _heard(self, step: int) -> list[Row]:
        """The rows of a step as they are read: in a share of the steps two are one conversation."""
        rows, chance = self.rows(step), chance_of(self.seed, "heard", step)
        if chance.random() >= HEARD:
            return rows
        heard: list[Row] = []
        for row, further in zip_longest(rows[::2], rows[1::2], fillvalue=list[Piece]()):
            joined = conversed([*row, *further], self.headers, chance)
            fits = len(self.prefix) + sum(piece.size for piece in joined) <= self.limit
            heard += [joined] if fits else [one for one in (row, further) if one]
        return heard

    def collated(self, rows: Sequence[Row]) -> Packed:
        """Rows as tensors."""
        return collate(rows, prefix=self.prefix, pad=self.pad)


class Rounds(Feed):
    """A course, dealt out one round after another; the last one is kept at hand."""

    def __init__(self, course: Course, size: int) -> None:
        self.course = course
        self.size = size  # rows of a step
        self.prefix = course.prefix
        self.pad = end_of_answer(course.tokenizer)
        self.headers, self.seed = headers_of(course.tokenizer), course.seed
        said = {token for piece in course.pieces() for token in piece.tokens()}
        own = torch.tensor(sorted(said | {self.pad}))
        self.words = Words(own, len(course.tokenizer), seed=course.seed)
        self._sizes: list[int] = []  # batches in each round so far
        self._held: tuple[int, list[list[Row]]] = (-1, [])

    @property
    def steps(self) -> int:
        return sum(map(self._size, range(self.course.rounds)))

    def rows(self, step: int) -> list[Row]:
        place = self.cursor(step)
        return self._round(place["round"])[place["batch"]]

    def among(self, step: int, rows: Sequence[Row]) -> Candidates:  # noqa: ARG002  all in one course
        return self.words.candidates(step)

    def cursor(self, step: int) -> dict[str, int]:
        number, before = 0, 0
        while step >= before + self._size(number):
            before += self._size(number)
            number += 1
        return {"round": number, "batch": step - before}

    def exposures(self, steps: int) -> Iterator[Exposure]:
        met = (
            (step, (d for row in self.rows(step) for piece in row for d in piece.documents))
            for step in range(steps)
        )
        return tallied(met)

    def _size(self, number: int) -> int:
        while len(self._sizes) <= number:
            self._sizes.append(len(self._round(len(self._sizes))))
        return self._sizes[number]

    def _round(self, number: int) -> list[list[Row]]:
        if self._held[0] != number:
            self._held = (number, list(self.course.batches_of(number, self.size)))
        return self._held[1]
