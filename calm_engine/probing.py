"""Pieces whose ends a model is to say, asked of it as it stands. Knows no corpus, no training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calm_engine.data import Piece, collate, end_of_answer
from calm_engine.student import Student

TOGETHER = 24  # pieces asked in one pass


class Asking:
    """A student, and how what it says is read.

    prefix   what all chats begin with (`data.shared_prefix`)
    """

    def __init__(
        self, student: Student, tokenizer: PreTrainedTokenizerBase, prefix: Sequence[int]
    ) -> None:
        self.student, self.tokenizer, self.prefix = student, tokenizer, prefix

    def share(self, pieces: Sequence[Piece]) -> float:
        """The share of pieces whose whole end is the likeliest, token by token; 0 of none."""
        wanted = [list(piece.ids[piece.first :]) for piece in pieces]
        said = self.answers(pieces)
        return sum(a == b for a, b in zip(said, wanted, strict=True)) / max(1, len(pieces))

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


def _split(said: Tensor, pieces: Sequence[Piece]) -> Iterator[list[int]]:
    at = 0
    for piece in pieces:
        size = len(piece.ids) - piece.first
        yield said[at : at + size].tolist()
        at += size
