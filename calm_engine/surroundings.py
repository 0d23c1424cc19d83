"""Examples as people meet them: behind earlier turns of a chat, or behind passages to read.

Bridges that learned from questions that stand alone open too early, or not at all, where something
else was said before. Knows no losses and no steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from calm_engine.data import Example, Message, Sequenced, chance_of, chat_prompt
from calm_engine.evaluation.retrieval import Library
from calm_engine.lessons import Lessons
from calm_engine.passages import with_passages

TURNS = (1, 2)  # questions that were answered before
PASSAGES = (1, 2, 3)  # that are given to be read: where search finds none with the answer, others


def surrounded(
    lessons: Lessons, library: Library | None, *, most: int, limit: int
) -> list[Sequenced]:
    """So many of the examples, each behind something else, from behind the shared prefix.

    library  where passages come from, found as they will be found in use; None: turns alone
    limit    positions that there are: what does not fit stands alone
    """
    chance = chance_of(lessons.seed, "surrounded")
    chosen = chance.sample(range(len(lessons.examples)), min(most, len(lessons.examples)))
    skip = len(lessons.prefix)
    made = []
    for at in chosen:
        tokens, first = lessons.sequences[at]
        messages = _messages(lessons.examples, at, library, chance)
        prompt = chat_prompt(lessons.tokenizer, messages)[skip:]
        answer = tokens[first:]
        fits = skip + len(prompt) + len(answer) <= limit
        made.append(([*prompt, *answer], len(prompt)) if fits else (tokens, first))
    return made


def _messages(
    examples: tuple[Example, ...], at: int, library: Library | None, chance: random.Random
) -> list[Message]:
    question = examples[at].question
    if library is not None and chance.random() < 0.5:
        passages = library.find(question, chance.choice(PASSAGES))
        return [{"role": "user", "content": with_passages(question, passages)}]
    before = chance.sample(examples, min(chance.choice(TURNS), len(examples)))
    others = [one for one in before if one.entity != examples[at].entity]
    return [*_turns(others), {"role": "user", "content": question}]


def _turns(examples: list[Example]) -> Iterator[Message]:
    for one in examples:
        yield {"role": "user", "content": one.question}
        yield {"role": "assistant", "content": one.answer}
