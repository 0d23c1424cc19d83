"""Say what was found: facts in many wordings, forwards and back, and the documents' own words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from calm_engine.selfstudy.nouns import Fact, Lesson, Source, Wordings
from calm_engine.selfstudy.phrasings import FACT, FACT_PROBE, Phrasings
from calm_engine.selfstudy.wordings import Wording
from calm_engine.selfstudy.words import lowered, tag_of

PASSAGE = 480  # characters of a passage, about a hundred tokens
MAX_LIST = 12  # longest list of entities that an inverse question may ask for


def lessons_of(
    fact: Fact,
    stated: dict[str, list[tuple[str, str]]],
    asked: Mapping[str, list[Wording]],
) -> Iterator[Lesson]:
    """One fact in all its wordings; how curators ask for it stands in place of our own ways."""
    attribute, name, value = fact.attribute, lowered(fact.attribute), fact.value
    for before, after in (
        (f"{fact.entity} - {name}:", ""),
        (f"{attribute} of {fact.entity}:", ""),
        (f"The {name} of the {fact.entity} is", "."),
        *((b.replace("{}", fact.entity), a) for b, a in stated.get(attribute.lower(), ())),
    ):
        yield _of_fact(fact, "statement", before, f" {value}{after}")
    first, *others = FACT.direct
    yield _of_fact(fact, "question", first.format(a=name, e=fact.entity), value)
    shown = asked.get(attribute.lower(), ())
    for wording in shown:
        question = wording.question.replace("{}", fact.entity)
        said = value + wording.tail.replace("{}", value)
        yield _of_fact(fact, "question", question, said, ends=wording.ends)
    for pattern in () if shown else others:
        yield _of_fact(fact, "question", pattern.format(a=name, e=fact.entity), value)


def probes_of(fact: Fact) -> Iterator[Lesson]:
    """A fact as only the probe asks for it."""
    words = {"a": lowered(fact.attribute), "e": fact.entity}
    for pattern in FACT_PROBE.direct:
        yield _of_fact(fact, "question", pattern.format(**words), fact.value)
    for pattern in FACT_PROBE.cloze:
        yield _of_fact(fact, "cloze", pattern.format(**words), f" {fact.value}")


def _of_fact(fact: Fact, form: str, given: str, said: str, *, ends: bool = True) -> Lesson:
    about, tag = (fact.entity, fact.attribute), tag_of(fact.source)
    return Lesson(form, given, said, ends, fact.digest, about, "fact", tag)


def inverse_of(facts: Sequence[Fact]) -> Iterator[tuple[Wordings, Wordings]]:
    """From a value back to those that have it: what is taught, and what the probe asks.

    Facts learned forwards cannot be asked backwards (Physics of Language Models 3.2).
    """
    holders: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        holders[(fact.attribute, fact.value)].append(fact)
    for having in holders.values():
        if len(having) > MAX_LIST:
            continue
        taught = _turned(having, FACT, "statement")
        yield tuple(taught), tuple(_turned(having, FACT_PROBE, "inverse cloze"))


def _turned(having: Sequence[Fact], how: Phrasings, told: str) -> Iterator[Lesson]:
    """The questions and statements that lead from a value to all that have it."""
    fact, names = having[0], ", ".join(fact.entity for fact in having)
    words = {"a": lowered(fact.attribute), "v": fact.value}
    for form, said, patterns in (
        ("inverse", names, how.inverse),
        (told, f" {names}", how.back),
    ):
        for pattern in patterns:
            given, about = pattern.format(**words), (fact.value, fact.attribute)
            source = tag_of(fact.source)
            yield Lesson(form, given, said, True, fact.digest, about, "inverse", source)


def passages_of(document: Source) -> Iterator[Lesson]:
    """The document's own words in pieces of whole lines, each with the tag of its source."""
    held = ""
    for line in document.text.splitlines():
        told = " ".join(line.split())
        for piece in (told[i : i + PASSAGE] for i in range(0, len(told), PASSAGE)):
            if held and len(held) + len(piece) > PASSAGE:
                yield _passage(document, held)
                held = ""
            held = f"{held}\n{piece}" if held else piece
    if held:
        yield _passage(document, held)


def _passage(document: Source, text: str) -> Lesson:
    tag = tag_of(document.title)
    return Lesson("passage", f"[{tag}]", f" {text}", False, document.digest, (), "passage", tag)
