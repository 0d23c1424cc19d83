"""Holds an answer to a JSON schema: before each token it says which ones may come.

The grammars are llguidance's. Knows no server and draws nothing; `generation.Answer` asks it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from torch import Tensor

from calm_engine.errors import InputError

# One way to set the spaces: else a small model may draw spaces until its tokens are used up.
LAYOUT: Any = {"whitespace_flexible": False, "coerce_one_of": True}


class Grammars:
    """What the words of one model can be held to; made once, since it reads the whole vocabulary.

    vocabulary   logits that the model gives
    ends         ids that end an answer
    Raises InputError("grammar.tokenizer") for a tokenizer whose words it cannot spell.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Collection[int]) -> None:
        try:
            self._words = from_tokenizer(tokenizer, vocabulary, sorted(ends) or None)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                "grammar.tokenizer", "this model's tokenizer does not spell its words"
            ) from error

    def held_to(self, schema: str) -> Held:
        """An answer's hold. Raises InputError("grammar.schema") for what is no schema we can keep.

        schema   a JSON schema as JSON
        """
        try:
            told = LLMatcher.grammar_from_json_schema(schema, defaults=LAYOUT)
            matcher = LLMatcher(self._words, told, log_level=0)
        except ValueError as error:
            raise InputError("grammar.schema", str(error)) from error
        if matcher.is_error():
            raise InputError("grammar.schema", matcher.get_error().splitlines()[0])
        return Held(schema, matcher)


class Held:
    """One answer's place in its grammar.

    schema   what it is held to, as JSON
    """

    def __init__(self, schema: str, matcher: LLMatcher) -> None:
        self.schema = schema
        self._matcher = matcher

    def allowed(self, logits: Tensor) -> Tensor:
        """The logits, (vocabulary,), of the tokens that may come; minus infinity for the others."""
        bias = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        return logits.masked_fill(bias[: logits.shape[0]] == 0, float("-inf"))

    def take(self, token: int) -> None:
        """Go on behind a token that was drawn."""
        self._matcher.consume_token(token)

    @property
    def is_whole(self) -> bool:
        """Whether nothing may follow: the answer keeps its schema."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    @property
    def is_lost(self) -> bool:
        """Whether the grammar grew beyond its limits: the answer is cut off here."""
        return self._matcher.is_error()
