"""From a checked request to token ids, with a tokenizer that is nobody else's.

Knows no queue; called on one thread of its own, since a tokenizer is not to be shared.
"""

from __future__ import annotations

import copy

from jinja2 import TemplateError

from calm_engine.data import chat_prompt
from calm_engine.errors import InputError
from calm_engine.generation import end_tokens
from calm_engine.grammar import Grammars, Held
from calm_engine.serving.line import Loaded
from calm_engine.serving.protocol import Ask, RequestError


class Reader:
    """Reads the requests of one model."""

    def __init__(self, loaded: Loaded) -> None:
        self._model, self._vocabulary = loaded.model, loaded.vocabulary
        self._tokenizer = copy.deepcopy(loaded.tokenizer)
        self._grammars: Grammars | None = None

    def read(self, ask: Ask, *, is_chat: bool) -> tuple[tuple[int, ...], Held | None]:
        """Token ids of a request, and what its answer is held to. Raises RequestError 400."""
        held = None if ask.schema is None else self._held(ask.schema)
        return self._prompt(ask, is_chat), held

    def _held(self, schema: str) -> Held:
        try:
            if self._grammars is None:
                ends = end_tokens(self._model, self._tokenizer)
                self._grammars = Grammars(self._tokenizer, self._vocabulary, ends)
            return self._grammars.held_to(schema)
        except InputError as error:
            raise RequestError(
                400,
                f"No answer can be held to this schema: {error}",
                code="invalid_value",
                param="response_format",
            ) from error

    def _prompt(self, ask: Ask, is_chat: bool) -> tuple[int, ...]:
        if isinstance(ask.prompt, tuple):
            return ask.prompt
        if not is_chat:
            return tuple(self._tokenizer(ask.prompt)["input_ids"])
        try:
            return tuple(chat_prompt(self._tokenizer, list(ask.messages)))
        except TemplateError as error:
            raise RequestError(
                400,
                "This model's chat template does not take these messages.",
                code="invalid_value",
                param="messages",
            ) from error
