"""What documents state besides the examples: more kinds of answers for bridges to learn from.

Curators show a few kinds of questions. A gate that saw only their values shuts in the middle of
others, of which it saw no token. So some of what an augmenter is asked is learned by the bridges
too, but for all that a held-out question is about. Knows no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from calm_engine.data import Example, chance_of
from calm_engine.selfstudy import Lesson, Source, study
from calm_engine.split import Names

STATED = "stated"  # the kind of such an example
SHARE = 0.1  # of the examples, at most
LONGEST = 120  # characters of an answer
READ = 2_000_000  # characters of documents that are studied


def stated_in(
    documents: Sequence[Source], examples: Sequence[Example], held_out: Sequence[Example], seed: int
) -> list[Example]:
    """Questions that the documents answer, and no example asks for: a tenth of the examples.

    held_out   nothing that names the entity or the unseen value of one of these is learned
    """
    hidden = Names(_hidden(held_out))
    said = {one.expected for one in examples}
    found = [
        one
        for one in _asked(documents, seed)
        if one.said.strip() not in said and not hidden.stand_in(one.given, one.said)
    ]
    most = round(len(examples) * SHARE)
    chance = chance_of(seed, "stated")
    return [_example(one) for one in chance.sample(found, min(most, len(found)))]


def _hidden(held_out: Sequence[Example]) -> Iterator[str]:
    for one in held_out:
        if one.slice != "seen":
            yield one.entity
        if one.slice == "unseen_value":
            yield one.value


def _asked(documents: Sequence[Source], seed: int) -> Iterator[Lesson]:
    """Questions with short answers about some of the documents, each in one wording."""
    chance, read = chance_of(seed, "stated", "wording"), list[Source]()
    left = READ
    for one in chance.sample(documents, len(documents)):
        left -= len(one.text)
        if left < 0 and read:
            break
        read.append(one)
    found = study(read)
    for wordings in (*found.facts, *found.points):
        asked = [one for one in wordings if one.form in ("question", "inverse") and one.ends]
        short = [one for one in asked if len(one.said) <= LONGEST]
        if short:
            yield chance.choice(short)


def _example(one: Lesson) -> Example:
    answer = one.said.strip()
    name = hashlib.sha256(f"{one.given}\n{answer}".encode()).hexdigest()
    about = one.about[0] if one.about else ""
    return Example(name, one.given, answer, answer, STATED, entity=about, value=answer)
