"""Questions with answers made of what documents state: what a composition can learn from where
nobody wrote an example. By rules alone, so that any answer is known to be right.

Each fact is asked for in several wordings and used in tasks of public skill, whose answers state it
before they use it; what prose says besides is asked as well (`retelling`). Entities that no
document names are asked about too, and the answer says so.
Knows no model; who may learn from which question is decided in `split`.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from calm_engine.selfstudy.nouns import WORDS, Fact, Source
from calm_engine.selfstudy.preparing import facts_of
from calm_engine.selfstudy.retelling import PROSE, Row, retold
from calm_engine.selfstudy.words import is_or_are, lowered, plain

RECALL, PARAPHRASE, ARITHMETIC = "recall", "paraphrase", "arithmetic"
DIFFERENCE, FORMAT, TABLE, TRANSLATION = "difference", "format", "table", "translation"
TASKS = (RECALL, PARAPHRASE, ARITHMETIC, DIFFERENCE, FORMAT, TABLE, TRANSLATION)
UNANSWERABLE = "unanswerable"  # where it is asked for
REFUSAL, REFUSED = "I do not know.", "do not know"
ENTITIES = 600  # asked about, at most: more teach a bridge nothing new
ADDED = (2, 9)  # what is added to a number, at least and at most
SEVERAL, LONG, NAMELESS = "several values", "longer than an answer", "no name by itself"
FEW_WORDS = 2  # of one that stands in a sentence: more, and most of it would do for the whole
# The sentence around a value, which stays as the documents write it.
SENTENCES = {
    "German": "Die Antwort ist {v}",
    "French": "La réponse est {v}",
    "Spanish": "La respuesta es {v}",
    "Italian": "La risposta è {v}",
}

_NUMBER = re.compile(r"\d{1,6}")
_RECALL = ("What {verb} the {a} of {e}?", "Which {a} does {e} have?")
_PARAPHRASE = ("{e}: I need its {a}, please.", "Please look up the {a} for {e}.")
_SYLLABLES = tuple(a + b for a in "bdfgklmnprstvz" for b in "aeiou")


@dataclass(frozen=True)
class Tasks:
    """What was written, and what was left out of it, counted by reason.

    rows   {"question", "answer", "expected", "entity", "value", "kind"}
    """

    rows: tuple[Row, ...]
    dropped: dict[str, int] = field(default_factory=dict)

    def by_kind(self) -> dict[str, int]:
        return dict(Counter(row["kind"] for row in self.rows))


def tasks_of(
    documents: Sequence[Source],
    *,
    seed: int = 0,
    kinds: Collection[str] = (*TASKS, *PROSE),
    unanswerable: float = 0.0,
) -> Tasks:
    """Everything that can be asked of what these documents state.

    kinds          of `TASKS` and `PROSE`
    unanswerable   how many questions about nobody there are for each entity
    """
    dropped: Counter[str] = Counter()
    facts = facts_of(documents)
    held = _askable(facts, dropped)
    chance = random.Random(f"tasks {seed}")  # noqa: S311 - sampling, not secrets
    names = sorted(held)
    chosen = sorted(chance.sample(names, min(ENTITIES, len(names))))
    known = {name: held[name] for name in chosen}
    rows = [row for name in chosen for row in _about(name, known, chance) if row["kind"] in kinds]
    attributes = sorted({fact.attribute for facts in known.values() for fact in facts})
    rows += _refusals(attributes, names, round(unanswerable * len(chosen)), chance)
    of_prose, unclear = retold(documents, facts, chance)
    rows += [row for row in of_prose if row["kind"] in kinds]
    return Tasks(tuple(rows), dict(dropped + Counter({SEVERAL: unclear})))


Known = Mapping[str, Sequence[Fact]]


def _askable(facts: Sequence[Fact], dropped: Counter[str]) -> dict[str, list[Fact]]:
    """By entity the facts that a question has one answer to."""
    values: dict[tuple[str, str], dict[str, Fact]] = defaultdict(dict)
    for fact in facts:
        about = (plain(fact.entity), plain(fact.attribute))
        values[about].setdefault(plain(fact.value), fact)
    held: dict[str, list[Fact]] = defaultdict(list)
    for found in values.values():
        fact = next(iter(found.values()))
        if reason := _against(fact, len(found)):
            dropped[reason] += len(found)
        else:
            held[fact.entity].append(fact)
    return held


def _against(fact: Fact, values: int) -> str:
    if values > 1:
        return SEVERAL
    if len(fact.value.split()) > WORDS:
        return LONG
    return "" if any(sign.isalpha() for sign in fact.entity) else NAMELESS


def _about(name: str, known: Known, chance: random.Random) -> Iterator[Row]:
    facts = known[name]
    for fact, after in zip(facts, [*facts[1:], facts[0]], strict=True):
        yield from _asked(fact, _RECALL, RECALL)
        yield from _asked(fact, _PARAPHRASE, PARAPHRASE)
        yield _formatted(fact)
        yield from _tabled(fact, after)
        yield from _translated(fact, chance)
        if _NUMBER.fullmatch(fact.value):
            yield _reckoned(fact, chance.randint(*ADDED))
            yield from _compared(fact, known, chance)


def _asked(fact: Fact, wordings: Sequence[str], kind: str) -> Iterator[Row]:
    for wording in wordings:
        question = _put(wording, fact.attribute, fact.entity)
        yield _row(fact, question, fact.value, fact.value, kind)


def _put(wording: str, attribute: str, entity: str) -> str:
    return wording.format(verb=is_or_are(attribute), a=lowered(attribute), e=entity)


def _formatted(fact: Fact) -> Row:
    name = lowered(fact.attribute)
    said = json.dumps({"name": fact.entity, name: fact.value}, ensure_ascii=False)
    question = (
        f'Give the name {fact.entity} and its {name} as a JSON object with "name" and "{name}".'
    )
    return _row(fact, question, said, said, FORMAT)


def _tabled(fact: Fact, after: Fact) -> Iterator[Row]:
    """With the entity's next fact as a further column, where there is one."""
    facts = [fact] if plain(after.attribute) == plain(fact.attribute) else [fact, after]
    names = [lowered(one.attribute) for one in facts]
    cells = [fact.entity, *(one.value for one in facts)]
    if any("|" in cell or "\n" in cell for cell in (*names, *cells)):
        return
    question = (
        f"Give the name {fact.entity} and its {' and '.join(names)} as a table: a line with the "
        "names of the columns and a line below it, with | between the columns."
    )
    said = f"{' | '.join(['name', *names])}\n{' | '.join(cells)}"
    yield _row(fact, question, said, said, TABLE)


def _translated(fact: Fact, chance: random.Random) -> Iterator[Row]:
    """A sentence of another language with the value in it as it is."""
    if len(plain(fact.value).split()) > FEW_WORDS:
        return
    language = chance.choice(sorted(SENTENCES))
    said = SENTENCES[language].format(v=fact.value)
    question = (
        f"Answer with a sentence in {language}: what {is_or_are(fact.attribute)} the "
        f"{lowered(fact.attribute)} of {fact.entity}?"
    )
    yield _row(fact, question, f"{said}.", said, TRANSLATION)


def _reckoned(fact: Fact, more: int) -> Row:
    total = int(fact.value) + more
    question = f"What is the {lowered(fact.attribute)} of {fact.entity} plus {more}?"
    return _row(
        fact, question, f"{fact.value}, and plus {more} that is {total}", str(total), ARITHMETIC
    )


def _compared(fact: Fact, known: Known, chance: random.Random) -> Iterator[Row]:
    """Beside another entity's number, where there is one that differs."""
    others = [
        one
        for facts in known.values()
        for one in facts
        if one.entity != fact.entity
        and plain(one.attribute) == plain(fact.attribute)
        and _NUMBER.fullmatch(one.value)
        and int(one.value) != int(fact.value)
    ]
    if not others:
        return
    other = chance.choice(others)
    by = abs(int(fact.value) - int(other.value))
    if str(by) in (fact.value, other.value):  # else saying a fact would count as the answer
        return
    name = lowered(fact.attribute)
    question = (
        f"By how much do the {name} of {fact.entity} and the {name} of {other.entity} differ?"
    )
    answer = f"{fact.value} and {other.value}, which differ by {by}"
    yield _row(fact, question, answer, str(by), DIFFERENCE)


def _refusals(
    attributes: Sequence[str], names: Collection[str], count: int, chance: random.Random
) -> Iterator[Row]:
    taken = {plain(name) for name in names}
    while attributes and count > 0:
        name = "".join(chance.choice(_SYLLABLES) for _ in range(3)).capitalize()
        if plain(name) not in taken:
            taken.add(plain(name))
            count -= 1
            fact = Fact(name, chance.choice(attributes), "", "")
            question = _put(chance.choice(_RECALL), fact.attribute, name)
            yield _row(fact, question, REFUSAL, REFUSED, UNANSWERABLE)


def _row(fact: Fact, question: str, answer: str, expected: str, kind: str) -> Row:
    told = {"question": question, "answer": answer, "expected": expected}
    return told | {"entity": fact.entity, "value": fact.value, "kind": kind}
