"""Asks columns one after another and keeps what they say; begun again, it asks what is left.

Knows no figures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from calm_engine.data import Example, question_prompt, reading_prompt
from calm_engine.errors import Cancelled
from calm_engine.evaluation.answers import Answers
from calm_engine.evaluation.asking import Asker, Column, common_prefix
from calm_engine.evaluation.kinds import OTHER_CORPUS
from calm_engine.evaluation.retrieval import Library
from calm_engine.evaluation.scoring import scored
from calm_engine.generation import end_tokens
from calm_engine.modeling import CalmForCausalLM
from calm_engine.process import stop_requested
from calm_engine.specs import EvaluateSpec, Progress


@dataclass
class Rounds:
    """Everything that is asked of everybody.

    total  answers in all, for the progress
    pace   for each column the questions asked now and the seconds that took
    """

    spec: EvaluateSpec
    together: CalmForCausalLM
    tokenizer: PreTrainedTokenizerBase
    questions: Sequence[Example]
    answers: Answers
    total: int
    library: Library | None = None
    pace: dict[str, dict[str, float]] = field(default_factory=dict)

    def ask(self, column: Column, questions: Sequence[Example] | None = None) -> Iterator[Progress]:
        """Ask one column what it has not answered yet. Raises `Cancelled` between two batches."""
        asked = self.questions if questions is None else questions
        rows = [row for row in asked if column.is_asked(row)]
        left = [row for row in rows if (column.name, row.id) not in self.answers.said]
        if not left:
            return
        words = column.tokenizer or self.tokenizer
        prompts = {row.id: self._prompt(column, words, row) for row in rows}
        ends = end_tokens(column.model if column.tokenizer else self.together, words)
        asker = Asker(
            column,
            words,
            prefix=common_prefix(list(prompts.values())),
            ends=ends,
            most=self.spec.max_new_tokens,
        )
        left.sort(key=lambda row: len(prompts[row.id]))  # equal lengths together: little padding
        for start in range(0, len(left), self.spec.batch_size):
            if stop_requested():
                raise Cancelled(answered=len(self.answers.said), of=self.total)
            batch, began = left[start : start + self.spec.batch_size], time.monotonic()
            texts = asker.ask([prompts[row.id] for row in batch])
            self.answers.add(column.name, [row.id for row in batch], texts)
            self._took(column.name, len(batch), time.monotonic() - began)
            yield self._news(column.name, rows, batch[0], texts[0])

    def _prompt(self, column: Column, words: PreTrainedTokenizerBase, row: Example) -> list[int]:
        """The question as this column is asked it, with as many passages as have room."""
        if not column.reads or self.library is None:
            return question_prompt(words, row.question)
        passages = self.library.find(row.question, column.reads)
        room = self.together.streams.limit - self.spec.max_new_tokens
        return reading_prompt(words, row.question, passages, room=room)

    def _took(self, column: str, count: int, seconds: float) -> None:
        pace = self.pace.setdefault(column, {"questions": 0.0, "seconds": 0.0})
        pace["questions"] += count
        pace["seconds"] += seconds

    def _news(self, column: str, rows: Sequence[Example], first: Example, text: str) -> Progress:
        said = [(row, self.answers.said.get((column, row.id))) for row in rows]
        marks = [scored(text, row.expected).is_right for row, text in said if text is not None]
        # By this column's own pace: whoever reads takes several times as long as whoever does not.
        rate = self.pace[column]["seconds"] / self.pace[column]["questions"]
        step = min(len(self.answers.said), self.total)
        told: dict[str, Any] = {
            "question": first.question,
            "expected": first.expected,
            "answer": text,
        }
        is_ours = first.kind != OTHER_CORPUS  # whoever follows this run may not read another corpus
        return Progress(
            "evaluate",
            step,
            self.total,
            message=column,
            metrics={f"{column}/right": sum(marks) / len(marks)},
            samples=(told,) if is_ours else (),
            eta_seconds=rate * (self.total - step),
        )
