"""The small language of the key-value table: letters, numbers, signs; and its tokenizer.

    abc + xyzzy - qd =     a key is a run of letters, one token each
    41 + 7 - 30 =          a number from 0 to 99 is one token
    8 1 0                  a value is told digit by digit, the lowest first, three digits

Digits with the lowest first need no carry from what is not yet said: in trials an anchor of 1.2
million weights learned them in a quarter of the steps. Knows no keys, no models and no tasks.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from calm_engine.data import encode

PAD, END = "<|pad|>", "<|end|>"
SIGNS = ("+", "-")
# What stands behind an expression, and asks for its value, its numbers, or both in this order.
COMPUTE, SUBSTITUTE, STATE = "=", ":", "?"
NUMBERS = 100
DIGITS = 3

WORDS = (
    PAD,
    END,
    *SIGNS,
    COMPUTE,
    SUBSTITUTE,
    STATE,
    *string.ascii_lowercase,
    *(str(number) for number in range(NUMBERS)),
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token a letter, a number and a sign; spaces only part. Decoding puts one between tokens."""
    words = {word: index for index, word in enumerate(WORDS)}
    bare = Tokenizer(models.WordLevel(vocab=words, unk_token=PAD))
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex("[a-z]|[0-9]{1,2}|[^a-z0-9]"), "isolated"),
        ]
    )
    make: Any = PreTrainedTokenizerFast  # untyped there
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=bare,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template="{{ messages[-1]['content'] }}",  # a question is asked as it stands
    )
    return tokenizer


def expression(operands: Sequence[str], signs: Sequence[str]) -> str:
    """Operands with signs between them, one sign fewer than operands: `12 + 7 - 3`."""
    told = [operands[0]]
    for sign, operand in zip(signs, operands[1:], strict=True):
        told += [sign, operand]
    return " ".join(told)


def value(numbers: Sequence[int], signs: Sequence[str]) -> int:
    """What an expression of numbers comes to."""
    rest = zip(signs, numbers[1:], strict=True)
    return numbers[0] + sum(number if sign == "+" else -number for sign, number in rest)


def spelled(number: int) -> str:
    """A value's digits, the lowest first: 18 is `8 1 0`."""
    return " ".join(reversed(f"{number:0{DIGITS}d}"))


def letters_of(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens of the letters."""
    return encode(tokenizer, string.ascii_lowercase)
