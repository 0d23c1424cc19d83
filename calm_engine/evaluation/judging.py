"""A model as the judge of answers that no rule can decide. Knows no column and no file.

Long answers that share some words with what is expected, too few to be the same text and too many
to be another. The judge is asked twice, with the two texts and the two words that it may answer in
either order; where it contradicts itself, the answer counts as wrong. What it is worth is told
beside what it said: its agreement with people, and how often it flips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from calm_engine.data import Example, encode, pad_left, question_prompt, rows_in
from calm_engine.errors import InputError
from calm_engine.evaluation.counting import wilson
from calm_engine.evaluation.scoring import LONG, has_form, normalised, scored, token_f1
from calm_engine.families import load_parent, read_tokenizer

LEAST = 0.3  # token F1 below which a long answer is about something else
TOGETHER = 8
LIMIT = 2048  # tokens of a prompt, where a model names no positions
ASKED = (
    "Question: {question}\n\nFirst text: {first}\n\nSecond text: {second}\n\n"
    "Do both texts answer the question alike? Answer with one word, {one} or {other}."
)
YES, NO = "yes", "no"


def is_open(answer: str, expected: str) -> bool:
    """Whether the rules leave this answer undecided."""
    if scored(answer, expected).is_right or has_form(expected):
        return False
    if len(normalised(expected).split()) < LONG:
        return False
    return token_f1(answer, expected) >= LEAST


@dataclass(frozen=True)
class Ruling:
    """What a judge said of one answer, asked in both orders."""

    first: bool
    second: bool

    @property
    def is_right(self) -> bool:
        return self.first and self.second

    @property
    def is_flip(self) -> bool:
        return self.first is not self.second


@dataclass(frozen=True)
class Label:
    """What a person said of an answer."""

    question: str
    expected: str
    answer: str
    is_right: bool


class Judge:
    """A chat model that says yes or no: whichever is likelier as its next word."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, *, limit: int) -> None:
        self.model, self.tokenizer, self.limit = model, tokenizer, limit
        self.words = {word: self._first_tokens(word) for word in (YES, NO)}

    def rulings(self, asked: Sequence[tuple[str, str, str]]) -> list[Ruling]:
        """Of each (question, expected, answer)."""
        plain = [
            ASKED.format(question=q, first=e, second=a, one=YES, other=NO) for q, e, a in asked
        ]
        turned = [
            ASKED.format(question=q, first=a, second=e, one=NO, other=YES) for q, e, a in asked
        ]
        said = self._says_yes([*plain, *turned])
        return [Ruling(*each) for each in zip(said[: len(asked)], said[len(asked) :], strict=True)]

    @torch.inference_mode()
    def _says_yes(self, questions: Sequence[str]) -> list[bool]:
        pad = self.tokenizer.pad_token_id or 0
        found: list[bool] = []
        for start in range(0, len(questions), TOGETHER):
            part = questions[start : start + TOGETHER]
            prompts = [question_prompt(self.tokenizer, one)[-self.limit :] for one in part]
            ids, mask = (one.to(self.model.device) for one in pad_left(prompts, pad=pad))
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            out = self.model(input_ids=ids, attention_mask=mask, position_ids=places)
            logs = out.logits[:, -1].float().log_softmax(-1).cpu()
            likely = {word: logs[:, ids].logsumexp(-1) for word, ids in self.words.items()}
            found += (likely[YES] > likely[NO]).tolist()
        return found

    def _first_tokens(self, word: str) -> list[int]:
        """What the word may begin with: as it is or with a capital, behind a space or not."""
        forms = [f"{space}{form}" for form in (word, word.capitalize()) for space in ("", " ")]
        found = {encode(self.tokenizer, form)[0] for form in forms}
        return sorted(found - set(encode(self.tokenizer, " ")[:1]))


def judge_in(folder: str | Path, device: Any) -> Judge:
    """Raises InputError("judge.missing") where there is none, and what loading a parent raises."""
    if not Path(folder).is_dir():
        raise InputError("judge.missing", "there is no such judge", path=str(folder))
    model: Any = load_parent(folder)
    limit = getattr(model.config, "max_position_embeddings", None) or LIMIT
    return Judge(model.to(device).eval(), read_tokenizer(folder), limit=limit)


def read_labels(path: str | Path | None) -> list[Label]:
    """What people said. Raises InputError: "data.file", "data.json", "data.row"."""
    needs = ("question", "expected", "answer", "right")
    rows = rows_in(path, needs=needs) if path else ()
    return [
        Label(str(r["question"]), str(r["expected"]), str(r["answer"]), bool(r["right"]))
        for r in rows
    ]


def open_answers(
    said: Mapping[tuple[str, str], str], rows: Mapping[str, Example]
) -> list[tuple[str, str]]:
    """Column and question of each answer that the rules leave undecided."""
    known = [(at, text, rows[at[1]]) for at, text in said.items() if at[1] in rows]
    return [at for at, text, row in known if is_open(text, row.expected)]


def ruled(
    judge: Judge, said: Mapping[tuple[str, str], str], rows: Mapping[str, Example]
) -> dict[tuple[str, str], Ruling]:
    """The judge's word on every answer that is left undecided."""
    left = open_answers(said, rows)
    asked = [(rows[at[1]].question, rows[at[1]].expected, said[at]) for at in left]
    return dict(zip(left, judge.rulings(asked), strict=True))


def told_of(
    judge: Judge, rulings: Mapping[tuple[str, str], Ruling], labels: Sequence[Label]
) -> dict[str, Any]:
    """What a report says of its judge: how much it decided, and what its word is worth."""
    flips = sum(ruling.is_flip for ruling in rulings.values())
    decided = {"decided": len(rulings), "flipped": _share(flips, len(rulings))}
    return decided | worth(judge, labels)


def worth(judge: Judge, labels: Sequence[Label]) -> dict[str, Any]:
    """How far the judge agrees with people, how often it flips, and both of its mistakes.

    agreement, flips   share with its 95 % interval and n; false accepts and rejects as counts
    """
    asked = [(one.question, one.expected, one.answer) for one in labels]
    told = list(zip(judge.rulings(asked), labels, strict=True))
    agrees = sum(ruling.is_right is label.is_right for ruling, label in told)
    return {
        "agreement": _share(agrees, len(told)),
        "flips": _share(sum(ruling.is_flip for ruling, _ in told), len(told)),
        "false_accepts": sum(r.is_right and not label.is_right for r, label in told),
        "false_rejects": sum(label.is_right and not r.is_right for r, label in told),
    }


def _share(count: int, of: int) -> dict[str, float]:
    if not of:
        return {"n": 0}
    low, high = wilson(count, of)
    return {"value": count / of, "low": low, "high": high, "n": of}
