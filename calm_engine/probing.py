"""Pieces whose ends a model is to say, asked of it as it stands. Knows no corpus, no training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calm_engine.data import Piece, chance_of, collate, end_of_answer
from calm_engine.student import Student
from calm_engine.training import Probe

PROBED = 96  # pieces of a look while it trains
SHOWN = 8  # of them shown with today's answer
TOGETHER = 24  # pieces asked in one pass


class Asking:
    """A student, and how what it says is read.

    prefix   what all chats begin with (`data.shared_prefix`)
    """

    def __init__(
        self, student: Student, tokenizer: PreTrainedTokenizerBase, prefix: Sequence[int]
    ) -> None:
        self.student, self.tokenizer, self.prefix = student, tokenizer, prefix

    def recall(self, pieces: Sequence[Piece], *, seed: int = 0) -> Probe:
        """The share of some pieces whose whole end is the likeliest, token by token.

        By it, as `known`, a training stops; `recall.Recall` tells the two apart.
        """
        chosen = chance_of(seed, "probe").sample(pieces, min(PROBED, len(pieces)))
        if not chosen:
            return Probe()
        said = list(self.answers(chosen))
        right = sum(words == list(p.ids[p.first :]) for p, words in zip(chosen, said, strict=True))
        shown = zip(chosen[:SHOWN], said, strict=False)
        share = right / len(chosen)
        return Probe(
            {"recall": share, "known": share}, tuple(self._sample(p, words) for p, words in shown)
        )

    def share(self, pieces: Sequence[Piece]) -> float:
        """The same share over all pieces; 0 of none."""
        return sum(self.marks(pieces)) / max(1, len(pieces))

    def marks(self, pieces: Sequence[Piece]) -> Iterator[bool]:
        """Of each piece, whether its whole end is said."""
        for piece, said in zip(pieces, self.answers(pieces), strict=True):
            yield said == list(piece.ids[piece.first :])

    @torch.no_grad()
    def answers(self, pieces: Sequence[Piece]) -> Iterator[list[int]]:
        """The likeliest tokens where each piece's end stands, what is before them being right."""
        was_training = self.student.training
        self.student.train(False)
        pad = end_of_answer(self.tokenizer)
        for start in range(0, len(pieces), TOGETHER):
            part = pieces[start : start + TOGETHER]
            batch = collate([[piece] for piece in part], prefix=self.prefix, pad=pad)
            yield from _split(self.student.logits(batch).argmax(-1).cpu(), part)
        self.student.train(was_training)

    def plain(self, ids: Sequence[int]) -> str:
        """Tokens as words that a person reads."""
        decode: Any = self.tokenizer.decode
        return str(decode(list(ids), skip_special_tokens=True)).strip()

    def _sample(self, piece: Piece, words: list[int]) -> dict[str, str]:
        """A question, its answer and today's, in plain words."""
        asked, expected = self.plain(piece.ids[: piece.first]), piece.ids[piece.first :]
        question = " ".join(asked.splitlines()[:1])
        told = {"expected": self.plain(expected), "answer": self.plain(words)}
        return {"question": question} | told


def _split(said: Tensor, pieces: Sequence[Piece]) -> Iterator[list[int]]:
    at = 0
    for piece in pieces:
        size = len(piece.ids) - piece.first
        yield said[at : at + size].tolist()
        at += size
