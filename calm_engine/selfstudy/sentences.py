"""Sentences that state facts, and how a corpus puts its known facts into sentences."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from calm_engine.selfstudy.facts import merge
from calm_engine.selfstudy.nouns import Fact, Source
from calm_engine.selfstudy.words import clean

MIN_RECURS = 3  # a sentence or a key must be found for so many entities to count as a pattern

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_STATED = re.compile(
    r"^(?P<the>The )?(?P<entity>[A-Z][\w-]*(?: [A-Z0-9][\w-]*){0,3}) "
    r"(?P<link>(?:is|was|are|were|has|have|comes|belongs)(?: [a-z]+){0,4}) "
    r"(?P<the2>the )?(?P<value>[A-Z0-9][\w.-]*(?: [A-Z0-9][\w-]*){0,4})\.$"
)


def sentences_of(document: Source) -> Iterator[str]:
    for line in re.split(r"\n\s*\n|\n(?=[#|*-])", document.text):
        yield from (clean(one) for one in _SENTENCE.split(" ".join(line.split())))


def stated_facts(documents: Sequence[Source], known: list[Fact]) -> list[Fact]:
    """Facts of sentences such as "The X is made in Y.", where the link recurs or X is known."""
    entities = {fact.entity.lower() for fact in known}
    pairs = {(fact.entity.lower(), fact.value.lower()) for fact in known}
    found: list[Fact] = []
    for document in documents:
        for sentence in sentences_of(document):
            match = _STATED.match(sentence)
            if match and (match["entity"].lower(), match["value"].lower()) not in pairs:
                link = re.sub(r"^(is|was|are|were|has|have) ", "", match["link"])
                found.append(
                    Fact(match["entity"], link, match["value"], document.digest, document.title)
                )
    recurs = Counter(fact.attribute for fact in merge(found))
    return [
        fact
        for fact in found
        if recurs[fact.attribute] >= MIN_RECURS or fact.entity.lower() in entities
    ]


def statement_patterns(
    documents: Sequence[Source], facts: list[Fact]
) -> dict[str, list[tuple[str, str]]]:
    """By attribute: the words before and after the value in sentences that recur in the corpus."""
    known: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        known[fact.entity].append(fact)
    counted: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for document in documents:
        for sentence in sentences_of(document):
            for entity in _named(sentence, known):
                for fact in known[entity]:
                    before, value, after = sentence.partition(f" {fact.value}")
                    if value and entity in before and len(sentence) <= 160 and len(after) <= 2:
                        pattern = (before.replace(entity, "{}"), after)
                        counted[fact.attribute.lower()][pattern] += 1
    return {
        attribute: [p for p, times in patterns.most_common(6) if times >= MIN_RECURS]
        for attribute, patterns in counted.items()
    }


def _named(sentence: str, known: dict[str, list[Fact]]) -> list[str]:
    """The known entities in a sentence: looked up by runs of up to four words."""
    words = re.findall(r"[\w-]+", sentence)
    runs = (
        " ".join(words[i : i + n]) for n in (1, 2, 3, 4) for i in range(max(0, len(words) - n + 1))
    )
    return [run for run in dict.fromkeys(runs) if run in known]
