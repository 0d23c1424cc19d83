"""What a composition learns from, as tokens: examples, and the anchor's own public answers.

Knows how questions are dealt out and asked; knows no losses and no steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase

from calm_engine.data import (
    Example,
    Sequenced,
    chance_of,
    encode,
    end_of_answer,
    pad_left,
    question_prompt,
    read_examples,
    shared_prefix,
)
from calm_engine.families import check_folder, read_tokenizer
from calm_engine.general import QUESTIONS
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import ComposeSpec

AT_ONCE = 32  # public questions in a batch
PUBLIC_TOKENS = 32  # of the anchor's own answer to each public question
SHOWN = 4  # questions of the samples
SHOWN_TOKENS = 16


@dataclass(frozen=True)
class Lessons:
    """The examples as tokens, and how they are dealt out: a function of the step alone.

    prefix  what the prompts of all chats begin with; the sequences go on from there
    end     the token that ends an answer, and pads
    """

    tokenizer: PreTrainedTokenizerBase
    prefix: tuple[int, ...]
    end: int
    examples: tuple[Example, ...]
    sequences: tuple[Sequenced, ...]
    seed: int

    @classmethod
    def of(cls, spec: ComposeSpec, chosen: Sequence[Example] | None = None) -> Lessons:
        """Of these examples, or of all that the spec names.

        Raises what reading the anchor's folder and the examples raises.
        """
        check_folder(spec.anchor)
        tokenizer = read_tokenizer(spec.anchor)
        examples = tuple(read_examples(spec.examples) if chosen is None else chosen)
        prefix = tuple(shared_prefix(tokenizer))
        sequences = tuple(_sequence(tokenizer, len(prefix), one) for one in examples)
        return cls(tokenizer, prefix, end_of_answer(tokenizer), examples, sequences, spec.seed)

    def turn(self, number: int, size: int) -> list[int]:
        """Which examples stand in the `number`-th batch: each once before any comes again."""
        begun, place = divmod(number * size, len(self.sequences))
        turns = -(-(place + size) // len(self.sequences))
        orders = [self._order(turn) for turn in range(begun, begun + turns)]
        return [at for order in orders for at in order][place : place + size]

    def _order(self, turn: int) -> list[int]:
        order = list(range(len(self.sequences)))
        chance_of(self.seed, "order", turn).shuffle(order)
        return order

    def held_out(self, spec: ComposeSpec, *, most: int) -> list[Sequenced]:
        """Some examples that are not learned from; none where the spec names no file."""
        if spec.held_out is None:
            return []
        rows = [one for one in read_examples(spec.held_out) if one.slice != "seen"]
        chosen = chance_of(self.seed, "held out").sample(rows, min(most, len(rows)))
        return [_sequence(self.tokenizer, len(self.prefix), one) for one in chosen]


def _sequence(tokenizer: PreTrainedTokenizerBase, skip: int, one: Example) -> Sequenced:
    """A question and its answer, the first `skip` tokens left out."""
    prompt = question_prompt(tokenizer, one.question)[skip:]
    return [*prompt, *encode(tokenizer, one.answer), end_of_answer(tokenizer)], len(prompt)


def public_answers(
    model: CalmForCausalLM, tokenizer: PreTrainedTokenizerBase, *, most: int, seed: int
) -> list[Sequenced]:
    """Public questions with the bare anchor's own greedy answers, from behind the shared prefix.

    most   of them, drawn by the seed: a short training would not come to the others
    """
    chosen = chance_of(seed, "public").sample(QUESTIONS, min(most, len(QUESTIONS)))
    prompts = [question_prompt(tokenizer, question) for question in chosen]
    return anchors_answers(model, tokenizer, prompts, at_once=AT_ONCE)


def anchors_answers(
    model: CalmForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    *,
    at_once: int,
) -> list[Sequenced]:
    """The prompts with the bare anchor's own greedy answers, from behind the shared prefix.

    at_once   prompts in a batch
    """
    skip = len(shared_prefix(tokenizer))
    end = end_of_answer(tokenizer)
    said = [
        words
        for start in range(0, len(prompts), at_once)
        for words in _generate(
            model, prompts[start : start + at_once], end=end, tokens=PUBLIC_TOKENS, gate=0.0
        )
    ]
    return [
        ([*p[skip:], *words], len(p) - skip)
        for p, words in zip(prompts, said, strict=True)
        if words
    ]


def samples(model: CalmForCausalLM, lessons: Lessons) -> tuple[dict[str, str], ...]:
    """A few fixed questions of the examples with today's answers."""
    chance = chance_of(lessons.seed, "samples")
    chosen = chance.sample(lessons.examples, min(SHOWN, len(lessons.examples)))
    prompts = [question_prompt(lessons.tokenizer, one.question) for one in chosen]
    said = _generate(model, prompts, end=lessons.end, tokens=SHOWN_TOKENS, gate=None)
    return tuple(
        {
            "question": one.question,
            "expected": one.answer,
            "answer": str(lessons.tokenizer.decode(words, skip_special_tokens=True)).strip(),
        }
        for one, words in zip(chosen, said, strict=True)
    )


@torch.no_grad()
def _generate(
    model: CalmForCausalLM,
    prompts: Sequence[list[int]],
    *,
    end: int,
    tokens: int,
    gate: float | None,
) -> list[list[int]]:
    """Greedy answers, the end token included where it was said."""
    ids, mask = pad_left(prompts, pad=end)
    was_training = model.training
    model.train(False)
    generate = cast("Any", model).generate  # transformers types it for its own classes alone
    rows = generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=tokens,
        do_sample=False,
        gate=gate,
        eos_token_id=end,
        pad_token_id=end,
    )
    model.train(was_training)
    answers = []
    for row in rows[:, ids.shape[1] :].tolist():
        stop = row.index(end) + 1 if end in row else len(row)
        answers.append(row[:stop])
    return answers
