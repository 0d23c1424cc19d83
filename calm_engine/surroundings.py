"""Questions as people meet them: behind earlier turns of a chat, or behind passages to read.

Bridges that learned from questions that stand alone open too early, or not at all, where something
else was said before; and a gate that never met a public question there speaks into its answer.
Knows no losses and no steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from calm_engine.data import (
    Example,
    Message,
    Sequenced,
    chance_of,
    chat_prompt,
    question_prompt,
)
from calm_engine.evaluation.retrieval import Library
from calm_engine.general import QUESTIONS
from calm_engine.lessons import PUBLIC_TOKENS, Lessons
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
        one = lessons.examples[at]
        messages = _messages(one.question, one.entity, lessons.examples, library, chance)
        prompt = chat_prompt(lessons.tokenizer, messages)[skip:]
        answer = tokens[first:]
        fits = skip + len(prompt) + len(answer) <= limit
        made.append(([*prompt, *answer], len(prompt)) if fits else (tokens, first))
    return made


def surrounded_public(
    lessons: Lessons, library: Library | None, *, most: int, limit: int
) -> list[list[int]]:
    """So many public questions likewise, as whole prompts; the answers are the bare anchor's.

    limit    positions that there are, and room is left for an answer
    """
    chance = chance_of(lessons.seed, "surrounded public")
    made = []
    for question in chance.sample(QUESTIONS, min(most, len(QUESTIONS))):
        messages = _messages(question, "", lessons.examples, library, chance)
        prompt = chat_prompt(lessons.tokenizer, messages)
        fits = len(prompt) + PUBLIC_TOKENS <= limit
        made.append(prompt if fits else question_prompt(lessons.tokenizer, question))
    return made


def _messages(
    question: str,
    entity: str,
    examples: Sequence[Example],
    library: Library | None,
    chance: random.Random,
) -> list[Message]:
    if library is not None and chance.random() < 0.5:
        passages = library.find(question, chance.choice(PASSAGES))
        return [{"role": "user", "content": with_passages(question, passages)}]
    before = chance.sample(examples, min(chance.choice(TURNS), len(examples)))
    others = [one for one in before if not entity or one.entity != entity]
    return [*_turns(others), {"role": "user", "content": question}]


def _turns(examples: list[Example]) -> Iterator[Message]:
    for one in examples:
        yield {"role": "user", "content": one.question}
        yield {"role": "assistant", "content": one.answer}
