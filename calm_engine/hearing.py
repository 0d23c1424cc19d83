"""Rows that are read as conversations: a question hears what was said before it.

An augmenter whose questions always stand alone does not answer a second one in the same chat, nor
one behind passages. So in a share of the steps each question sees the other turns and texts of its
row; nothing more is read for it. Of its own topic it hears nothing: it would learn to look its
answer up. Knows no course and no model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from calm_engine.data import (
    Piece,
    chat_prompt,
    encode,
    end_of_answer,
    question_prompt,
    shared_prefix,
)
from calm_engine.passages import QUESTION

HEARD = 0.25  # share of the steps

Headers = Sequence[Sequence[int]]  # what may stand between a question and what it hears


def headers_of(tokenizer: PreTrainedTokenizerBase) -> Headers:
    """The start of a further turn of a chat, and what leads from passages to the question."""
    return (_turn(tokenizer), encode(tokenizer, QUESTION))


def conversed(row: Sequence[Piece], headers: Headers, chance: random.Random) -> list[Piece]:
    """The row, each of its questions but a first one behind a header and hearing."""
    told: list[Piece] = []
    for piece in row:
        if piece.is_asked and told and headers:
            head = chance.choice(headers)
            first = piece.first + len(head)
            told.append(replace(piece, ids=(*head, *piece.ids), first=first, hears=True))
        else:
            told.append(piece)
    return told


def _turn(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What a template puts between the end of an answer and the next question."""
    first, said, last = "Alpha one", "two", "9 zebras"
    chat = [("user", first), ("assistant", said), ("user", last)]
    whole = chat_prompt(tokenizer, [{"role": role, "content": words} for role, words in chat])
    begun = len(question_prompt(tokenizer, first)) + len(encode(tokenizer, said))
    asked = len(question_prompt(tokenizer, last)) - len(shared_prefix(tokenizer))
    between = whole[begun : len(whole) - asked]
    return between[1:] if between[:1] == [end_of_answer(tokenizer)] else between
