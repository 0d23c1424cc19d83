"""What every step of teaching reads: packed rows, as a function of the step's number alone.

Knows how a course is dealt out; knows no model, no device and no loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calm_engine.course import Course
from calm_engine.data import Packed, Piece, collate, end_of_answer
from calm_engine.ranks import Ranks
from calm_engine.words import Candidates, Words

Row = list[Piece]


@dataclass(frozen=True)
class Batch:
    """A step's batch: our parts of it, and what is true of the whole.

    said   tokens that the whole batch is to say
    among  what its loss is normalised over
    """

    parts: tuple[Packed, ...]
    said: int
    among: Candidates


class Feed(ABC):
    """Rows for every step, and what they stand for.

    steps    until everything was met as often as it should be
    prefix   what stands at the head of every row
    pad      fills short rows
    """

    steps: int
    prefix: Sequence[int]
    pad: int

    @abstractmethod
    def rows(self, step: int) -> list[Row]:
        """The packed rows of a step; none where all that stood there was left out."""

    @abstractmethod
    def among(self, step: int, rows: Sequence[Row]) -> Candidates:
        """The tokens that the step's loss is normalised over."""

    @abstractmethod
    def cursor(self, step: int) -> dict[str, int]:
        """Where in the data a step stands, for whoever reads a checkpoint."""

    def batch(self, step: int, ranks: Ranks, parts: int) -> Batch:
        """Our parts of a step's batch."""
        rows = self.rows(step)
        said = sum(piece.targets for row in rows for piece in row)
        shares = [part for part in ranks.share(rows, parts) if part]
        packed = (collate(part, prefix=self.prefix, pad=self.pad) for part in shares)
        return Batch(tuple(packed), said, self.among(step, rows))


class Rounds(Feed):
    """A course, dealt out one round after another; the last one is kept at hand."""

    def __init__(self, course: Course, size: int) -> None:
        self.course = course
        self.size = size  # rows of a step
        self.prefix = course.prefix
        self.pad = end_of_answer(course.tokenizer)
        said = {token for piece in course.pieces() for token in piece.tokens()}
        own = torch.tensor(sorted(said | {self.pad}))
        self.words = Words(own, len(course.tokenizer), seed=course.seed)
        self._sizes: list[int] = []  # batches in each round so far
        self._held: tuple[int, list[list[Row]]] = (-1, [])
        self.steps = sum(map(self._size, range(course.rounds)))

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

    def _size(self, number: int) -> int:
        while len(self._sizes) <= number:
            self._sizes.append(len(self._round(len(self._sizes))))
        return self._sizes[number]

    def _round(self, number: int) -> list[list[Row]]:
        if self._held[0] != number:
            self._held = (number, list(self.course.batches_of(number, self.size)))
        return self._held[1]
