"""Pieces whose ends a model is to say, asked of it as it stands. Knows no corpus, no training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calm_engine.data import Piece, collate, end_of_answer
from calm_engine.student import Student

TOGETHER = 24  # pieces asked in one pass
SPARE = 4  # tokens that an answer may be longer than the expected one


class Asking:
    """A student, and how what it says is read.

    prefix   what all chats begin with (`data.shared_prefix`)
    """

    def __init__(
        self, student: Student, tokenizer: PreTrainedTokenizerBase, prefix: Sequence[int]
    ) -> None:
        self.student, self.tokenizer, self.prefix = student, tokenizer, prefix
        self._end = end_of_answer(tokenizer)

    def share(self, pieces: Sequence[Piece]) -> float:
        """The share of pieces whose whole end is the likeliest, token by token; 0 of none."""
        wanted = [list(piece.ids[piece.first :]) for piece in pieces]
        said = self.answers(pieces)
        return sum(a == b for a, b in zip(said, wanted, strict=True)) / max(1, len(pieces))

    def answers(self, pieces: Sequence[Piece]) -> Iterator[list[int]]:
        """The likeliest tokens where each piece's end stands, what is before them being right."""
        for start in range(0, len(pieces), TOGETHER):
            yield from self._likeliest(pieces[start : start + TOGETHER])

    def spoken(self, pieces: Sequence[Piece]) -> Iterator[list[int]]:
        """What greedy generation says in place of each piece's end, the end of the answer left out.

        It is given as many tokens as the piece's own end has, and a few more.
        """
        for start in range(0, len(pieces), TOGETHER):
            yield from self._generated(pieces[start : start + TOGETHER])

    def _generated(self, pieces: Sequence[Piece]) -> list[list[int]]:
        """Token by token, each time from the beginning: answers are short and few come here."""
        told: list[list[int]] = [[] for _ in pieces]
        under_way = list(range(len(pieces)))
        for _ in range(SPARE + max(len(piece.ids) - piece.first for piece in pieces)):
            so_far = [_with_end(pieces[at], [*told[at], self._end]) for at in under_way]
            for at, said in zip(under_way, self._likeliest(so_far), strict=True):
                told[at].append(said[-1])
            under_way = [at for at in under_way if told[at][-1] != self._end]
            if not under_way:
                break
        return [[token for token in said if token != self._end] for said in told]

    @torch.no_grad()
    def _likeliest(self, pieces: Sequence[Piece]) -> list[list[int]]:
        was_training = self.student.training
        self.student.train(False)
        batch = collate([[piece] for piece in pieces], prefix=self.prefix, pad=self._end)
        said = list(_split(self.student.logits(batch).argmax(-1).cpu(), pieces))
        self.student.train(was_training)
        return said

    def plain(self, ids: Sequence[int]) -> str:
        """Tokens as words that a person reads."""
        decode: Any = self.tokenizer.decode
        return str(decode(list(ids), skip_special_tokens=True)).strip()


def _with_end(piece: Piece, end: Sequence[int]) -> Piece:
    """The same piece, of whose end these tokens stand: the last of them is to be said."""
    ids = (*piece.ids[: piece.first], *end)
    return replace(piece, ids=ids, first=len(ids) - 1)


def _split(said: Tensor, pieces: Sequence[Piece]) -> Iterator[list[int]]:
    at = 0
    for piece in pieces:
        size = len(piece.ids) - piece.first
        yield said[at : at + size].tolist()
        at += size
