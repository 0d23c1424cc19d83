"""A look at a small model in training: the course's own questions, asked of it as it stands.

Knows how answers are scored; knows no training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from calm_engine.course import Course
from calm_engine.data import Piece, chance_of, collate
from calm_engine.student import Student
from calm_engine.training import Probe

PROBED = 96  # questions of a recall probe
SHOWN = 4  # of them shown with today's answer


@torch.no_grad()
def recall(student: Student, course: Course) -> Probe:
    """The share of questions whose whole answer is the likeliest, token by token."""
    asked = [piece for one in course.entities for piece in chain.from_iterable(one.questions)]
    if not asked:
        return Probe()
    chosen = chance_of(course.seed, "probe").sample(asked, min(PROBED, len(asked)))
    right, samples = 0, []
    for start in range(0, len(chosen), 24):
        part = chosen[start : start + 24]
        batch = collate([[p] for p in part], prefix=course.prefix, pad=part[0].ids[-1])
        said = student.logits(batch).argmax(-1).cpu()
        for piece, words in zip(part, _split(said, part), strict=True):
            right += words == list(piece.ids[piece.first :])
            samples.append(_sample(course, piece, words))
    return Probe({"recall": right / len(chosen)}, tuple(samples[:SHOWN]))


def _split(said: Tensor, pieces: Sequence[Piece]) -> Iterator[list[int]]:
    at = 0
    for piece in pieces:
        size = len(piece.ids) - piece.first
        yield said[at : at + size].tolist()
        at += size


def _sample(course: Course, piece: Piece, words: list[int]) -> dict[str, str]:
    """A question, its answer and today's, in plain words."""

    def plain(ids: Sequence[int]) -> str:
        return str(course.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    asked, expected = plain(piece.ids[: piece.first]), plain(piece.ids[piece.first :])
    question = " ".join(asked.splitlines()[:1])
    return {"question": question, "expected": expected, "answer": plain(words)}
