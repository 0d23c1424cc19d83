"""What prose says, made into lessons: definitions, sections, lists, gaps. Knows no layout.

Everything is taken from the documents word by word; nothing is made up, and no model is asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from calm_engine.selfstudy import phrasings
from calm_engine.selfstudy.nouns import Lesson, Source, Wordings
from calm_engine.selfstudy.phrasings import Phrasings
from calm_engine.selfstudy.predication import LONGEST, SHORTEST, predication_of, shortened
from calm_engine.selfstudy.prose import Block, blocks_of, sentences_in
from calm_engine.selfstudy.words import plain, tag_of

GAP_SENTENCE = (8, 26)  # words of a sentence with a gap
COMMON = 12  # times that a word by itself may stand in the corpus and still name something
RARE = 3  # times that a term may stand in the corpus to be worth a gap
MOST_ITEMS, ITEM_WORDS = 12, 6  # of a list that is asked for

_TERM = re.compile(r"[A-Za-z0-9][\w./+~-]*[\w+]")


@dataclass(frozen=True)
class Claims:
    """What was found in prose: wordings that are taught, and those that only a probe asks."""

    taught: tuple[Wordings, ...]
    held_out: Wordings


class Often(Protocol):
    """How often a word stands in a corpus."""

    def __getitem__(self, word: str, /) -> int: ...


def claims_of(
    documents: Sequence[Source], known: Iterable[tuple[str, str]], often: Often | None = None
) -> Claims:
    """Everything that the documents' prose says.

    known   (entity, value) of facts found elsewhere: a sentence with both says nothing more
    often   of the whole corpus, where these documents are not all of it
    """
    pairs = _Known(known)
    parsed = [(one, list(blocks_of(one.text))) for one in documents]
    seen = often or Counter(
        term for _, blocks in parsed for block in blocks for term in _terms(block.text)
    )
    taught: list[Wordings] = []
    held_out: list[Lesson] = []
    for document, blocks in parsed:
        for said in _said_in(document, blocks, pairs, seen):
            taught.append(tuple(said.taught()))
            held_out += said.held_out()
    return Claims(tuple(taught), tuple(held_out))


def words_of(text: str) -> Iterator[str]:
    """The words of a text that are counted, in small letters."""
    return (term for block in blocks_of(text) for term in _terms(block.text))


@dataclass(frozen=True)
class _Said:
    """One thing that is said: the words that fill the phrasings, and the answers both ways."""

    kind: str
    source: Source
    words: dict[str, str]
    answer: str
    inverse: str
    how: Phrasings
    probe: Phrasings
    statement: tuple[str, str] = ("", "")

    def taught(self) -> Iterator[Lesson]:
        if self.statement[0]:
            yield self._lesson("statement", f"[{self._tag}] {self.statement[0]}", self.statement[1])
        yield from self._all(self.how, "statement")

    def held_out(self) -> Iterator[Lesson]:
        yield from self._all(self.probe, "cloze")

    def _all(self, how: Phrasings, told: str) -> Iterator[Lesson]:
        back = "inverse cloze" if told == "cloze" else told
        for form, answer, patterns in (
            ("question", self.answer, how.direct),
            ("inverse", self.inverse, how.inverse),
            (told, f" {self.answer}", how.cloze),
            (back, f" {self.inverse}", how.back),
        ):
            if answer.strip():
                for pattern in patterns:
                    yield self._lesson(form, _begun(pattern.format(**self.words)), answer)

    def _lesson(self, form: str, given: str, said: str) -> Lesson:
        about = (plain(self.answer), *sorted(plain(word) for word in self.words.values()))
        return Lesson(form, given, said, True, self.source.digest, about, self.kind, self._tag)

    @property
    def _tag(self) -> str:
        return tag_of(self.source.title)


def _begun(told: str) -> str:
    """With a capital where a sentence begins."""
    return told[:1].upper() + told[1:]


class _Known:
    """Entities and values that facts have, to pass over sentences that only repeat one."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.values: dict[str, list[str]] = {}
        for entity, value in pairs:
            self.values.setdefault(entity.lower(), []).append(value.lower())

    def covers(self, sentence: str) -> bool:
        told = sentence.lower()
        words = re.findall(r"[\w-]+", told)
        runs = (" ".join(words[i : i + n]) for n in (1, 2, 3, 4) for i in range(len(words)))
        return any(value in told for run in runs for value in self.values.get(run, ()))


def _said_in(
    document: Source, blocks: Sequence[Block], known: _Known, seen: Often
) -> Iterator[_Said]:
    for at, block in enumerate(blocks):
        if block.kind == "heading":
            yield from _section(document, block)
        elif block.kind == "term":
            yield from _explained(document, block)
        elif block.text.endswith(":"):
            yield from _list(document, block, blocks[at + 1 :])
        if block.kind != "heading":
            for sentence in sentences_in(block.text):
                if _is_sentence(sentence) and not known.covers(sentence):
                    told = list(_definition(document, sentence, seen))
                    yield from told or _gap(document, sentence, seen)


def _is_sentence(told: str) -> bool:
    letters = sum(sign.isalpha() or sign == " " for sign in told)
    return told.endswith((".", "!")) and told[:1].isupper() and letters >= 0.8 * len(told)


def _definition(document: Source, sentence: str, seen: Often) -> Iterator[_Said]:
    """ "X is ...", "X must ...": the subject, the link and what follows up to the first clause."""
    found = predication_of(sentence)
    if found is None or _is_common(found.subject, seen):
        return
    inside = _inside(found.subject)
    yield _Said(
        "definition",
        document,
        {"s": inside, "l": found.link, "r": found.said},
        found.said,
        inside,
        phrasings.DEFINITION,
        phrasings.DEFINITION_PROBE,
        (f"{found.subject} {found.link}", f" {found.rest}"),
    )


def _is_common(subject: str, seen: Often) -> bool:
    """Whether a subject is a word that names nothing here: "the packages"."""
    content = [word for word in plain(subject).split() if word not in ("the", "a", "an")]
    return len(content) < 1 or (len(content) == 1 and seen[content[0]] > COMMON)


def _inside(subject: str) -> str:
    """A subject inside a sentence: its article in small letters, a name as it is."""
    first, _, others = subject.partition(" ")
    return f"{first.lower()} {others}" if first in ("The", "A", "An") else subject


def _explained(document: Source, block: Block) -> Iterator[_Said]:
    rest = shortened(next(sentences_in(block.text), ""))
    if rest and any(sign.isalpha() for sign in block.name):
        yield _Said(
            "definition",
            document,
            {"s": block.name, "l": "means", "r": rest},
            rest,
            block.name,
            phrasings.DEFINITION,
            phrasings.DEFINITION_PROBE,
            (f"{block.name}:", f" {block.text}"),
        )


def _section(document: Source, block: Block) -> Iterator[_Said]:
    if block.name and len(block.text.split()) <= LONGEST:
        words = {"n": block.name, "t": block.text}
        how, probe = phrasings.SECTION, phrasings.SECTION_PROBE
        yield _Said("section", document, words, block.text, block.name, how, probe)


def _list(document: Source, lead: Block, after: Sequence[Block]) -> Iterator[_Said]:
    items: list[str] = []
    for block in after:
        if block.kind != "item" or len(items) > MOST_ITEMS:
            break
        items.append(block.text.rstrip(".,;"))
    is_short = all(len(item.split()) <= ITEM_WORDS for item in items)
    begun = list(sentences_in(lead.text))[-1].rstrip(":") if lead.text else ""
    if 2 <= len(items) <= MOST_ITEMS and is_short and len(begun.split()) >= SHORTEST:
        words, said = {"b": begun}, ", ".join(items)
        yield _Said("list", document, words, said, "", phrasings.LIST, phrasings.LIST_PROBE)


def _gap(document: Source, sentence: str, seen: Often) -> Iterator[_Said]:
    """The rarest term of a sentence is left out; the term that comes first is no gap."""
    fewest, most = GAP_SENTENCE
    if not fewest <= len(sentence.split()) <= most:
        return
    found = [match for match in _TERM.finditer(sentence) if match.start() and _is_term(match[0])]
    if not found:
        return
    rarest = min(found, key=lambda match: (seen[match[0].lower()], -len(match[0])))
    term = rarest[0]
    if seen[term.lower()] <= RARE and sentence.count(term) == 1:
        before, after = sentence[: rarest.start()].rstrip(), sentence[rarest.end() :]
        words = {"b": before, "c": after}
        yield _Said("gap", document, words, term, "", phrasings.GAP, phrasings.GAP_PROBE)


def _is_term(word: str) -> bool:
    is_name = any(sign.isdigit() or sign.isupper() or sign in "./+~-" for sign in word)
    return len(word) >= (3 if is_name else 7)


def _terms(text: str) -> Iterator[str]:
    return (match[0].lower() for match in _TERM.finditer(text))
