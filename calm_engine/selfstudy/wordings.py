"""How a curator's examples ask for a fact, and how their answers go on after it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

from calm_engine.selfstudy.nouns import Fact
from calm_engine.selfstudy.sentences import MIN_RECURS
from calm_engine.selfstudy.words import plain


@dataclass(frozen=True)
class Wording:
    """How curators ask for an attribute, and how the answer goes on after the value.

    question  the entity cut out: "Where is the {} made?"
    tail      the words that follow the value in every such answer, the value cut out
    ends      whether the answer ends there; else what follows differs from value to value
    """

    question: str
    tail: str
    ends: bool


def question_patterns(
    examples: Iterable[dict[str, str]], facts: list[Fact]
) -> dict[str, list[Wording]]:
    """By attribute: the wordings in which the examples ask for it.

    An example teaches a wording when the documents hold a fact with its entity and its value and
    the answer begins with that value.
    """
    rows = list(examples)
    return wordings_of(rows, asked_for(rows, facts))


def asked_for(examples: Iterable[dict[str, str]], facts: list[Fact]) -> dict[str, Counter[str]]:
    """By question, its entity cut out: the attributes of the facts that answer it, counted."""
    held: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fact in facts:
        held[(plain(fact.entity), plain(fact.value))].append(fact.attribute.lower())
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for row in filter(_begins_with_value, examples):
        about = (plain(row["entity"]), plain(row["value"]))
        counted[_question_of(row)].update(held.get(about, ()))
    return counted


def wordings_of(
    examples: Iterable[dict[str, str]], counted: Mapping[str, Counter[str]]
) -> dict[str, list[Wording]]:
    """By attribute: the wordings that ask for it more often than for any other."""
    rests: dict[str, set[str]] = defaultdict(set)
    for row in filter(_begins_with_value, examples):
        rest = row["answer"].strip().removeprefix(row["value"])
        rests[_question_of(row)].add(rest.replace(row["value"], "{}"))
    patterns: dict[str, list[Wording]] = defaultdict(list)
    for question, attributes in counted.items():
        if attributes:
            wording = Wording(question, *_tail_of(rests[question]))
            patterns[attributes.most_common(1)[0][0]].append(wording)
    return patterns


def _begins_with_value(row: dict[str, str]) -> bool:
    """Whether an example asks about its entity and its answer begins with its value."""
    entity, value = row["entity"], row["value"]
    if not (entity and value and entity in row["question"]):
        return False
    return row["answer"].strip().startswith(value)


def _question_of(row: dict[str, str]) -> str:
    return row["question"].replace(row["entity"], "{}")


def _tail_of(rests: set[str]) -> tuple[str, bool]:
    """The whole words that all answers go on with, and whether they end there.

    A few answers may share more than their wording, such as the capital that two products of one
    country have in common; then nothing of them is taken.
    """
    if not any(re.search(r"\w", rest) for rest in rests):
        return "", True
    if len(rests) < MIN_RECURS:
        return "", False
    columns = zip(*(rest.split(" ") for rest in rests), strict=False)
    shared = [words[0] for words in takewhile(lambda words: len(set(words)) == 1, columns)]
    return " ".join(shared), False
