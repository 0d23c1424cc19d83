"""Turn documents into lessons: statements and questions in several wordings. Standard library only.

Finds facts (entity, attribute, value) in tables, in "Key: value" lines under a title and in plain
sentences, and says each of them in many ways, the value right after the key, so that a small model
holds the value where the key stands. How people ask is learned from a curator's examples: their
questions, with the entity cut out, are asked of every entity that the documents describe.
Deterministic; knows no model, no tokenizer and no company.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

MAX_KEY = 48  # characters of an attribute's name
MAX_VALUE = 90  # characters of a value
MAX_TITLE = 60  # characters of an entity's name
PASSAGE = 480  # characters of a passage, about a hundred tokens
MAX_LIST = 12  # longest list of entities that an inverse question may ask for
MIN_RECURS = 3  # a sentence or a key must be found for so many entities to count as a pattern

_NAMING_KEYS = {"product", "product name", "name", "item", "model", "title", "entity", "subject"}
_MAIL_KEYS = {"from", "to", "cc", "bcc", "subject", "date", "sent", "reply to", "message id"}
_VALUE_HEADERS = {"", "value", "values", "detail", "details", "entry", "data"}

_KEY_VALUE = re.compile(
    r"^\s*(?:[-*•\u2013·]\s+)?(?:\*\*|__)?(?P<key>[^\W\d_][^:|*]{0,47}?)(?:\*\*|__)?\s*:\s*(?:\*\*|__)?\s*"
    r"(?P<value>\S.*?)\s*(?:\*\*|__)?\s*$"
)
_HEADING = re.compile(r"^\s*(?:#{1,6}\s+|\*\*)(?P<title>.+?)(?:\*\*|\s#+)?\s*$")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_STATED = re.compile(
    r"^(?P<the>The )?(?P<entity>[A-Z][\w-]*(?: [A-Z0-9][\w-]*){0,3}) "
    r"(?P<link>(?:is|was|are|were|has|have|comes|belongs)(?: [a-z]+){0,4}) "
    r"(?P<the2>the )?(?P<value>[A-Z0-9][\w.-]*(?: [A-Z0-9][\w-]*){0,4})\.$"
)


@dataclass(frozen=True)
class Source:
    """One document as extracted: its digest, its title and its text."""

    digest: str
    title: str
    text: str


@dataclass(frozen=True)
class Fact:
    """What a document says of an entity."""

    entity: str
    attribute: str
    value: str
    digest: str = field(compare=False)
    source: str = field(compare=False, default="")


@dataclass(frozen=True)
class Lesson:
    """One thing to learn: what is given, and what is to be said after it.

    form    "statement", "question", "inverse" or "passage"; a question is asked in a chat
    given   the words before; for a statement they begin with the tag of its source
    said    the words to be learned
    ends    whether the answer ends there (false: a longer answer only begins with the fact)
    digest  of the document that it comes from
    about   (entity, attribute), or () for a passage: exposures are counted by it
    """

    form: str
    given: str
    said: str
    ends: bool
    digest: str
    about: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """All lessons of a corpus, by fact, so that every fact is met equally often.

    facts     for each fact its lessons, one wording each
    inverse   lessons from value to entities
    passages  the documents' own words, in pieces
    """

    facts: tuple[tuple[Lesson, ...], ...]
    inverse: tuple[Lesson, ...]
    passages: tuple[Lesson, ...]
    found: tuple[Fact, ...] = ()


def study(documents: Sequence[Source], examples: Iterable[dict[str, str]] = ()) -> Study:
    """Prepare the lessons of a corpus.

    examples  a curator's rows ("question", "answer", "entity", "value"): only their wordings are
              taken, and of an answer the value with the words that follow it in all such answers
              ("Peru, and the capital of Peru is"). Where they part, the anchor goes on.
    """
    facts = merge(fact for document in documents for fact in facts_in(document))
    keys = frozenset(fact.attribute for fact in facts)
    facts = merge(fact for document in documents for fact in facts_in(document, keys=keys))
    facts = merge([*facts, *_stated_facts(documents, facts)])
    stated = _statement_patterns(documents, facts)
    asked = _question_patterns(examples, facts)
    lessons = tuple(tuple(_lessons(fact, stated, asked)) for fact in facts)
    passages = tuple(lesson for document in documents for lesson in _passages(document))
    return Study(lessons, tuple(_inverse(facts)), passages, tuple(facts))


def merge(facts: Iterable[Fact]) -> list[Fact]:
    """Each fact once, in the order found; names that differ in case only are one name."""
    seen: dict[tuple[str, str, str], Fact] = {}
    for fact in facts:
        key = (fact.entity.lower(), fact.attribute.lower(), fact.value.lower())
        seen.setdefault(key, fact)
    return list(seen.values())


# -- finding facts ---------------------------------------------------------------------------------


def facts_in(document: Source, *, keys: frozenset[str] = frozenset()) -> list[Fact]:
    """The facts that tables and "Key: value" lines of one document state.

    keys  attributes known from elsewhere: a line that runs several of them together, as text from
          a PDF often does, is taken apart before them
    """
    rows: list[tuple[str, str, str]] = []
    title = _clean(document.title)
    lines = _apart(document.text, keys).splitlines()
    at = 0
    while at < len(lines):
        table, after = _table_at(lines, at)
        if table:
            rows += _facts_of_table(table, title)
            at = after
            continue
        block, after = _block_at(lines, at)
        if block:
            named = next((v for k, v in block if _plain(k) in _NAMING_KEYS), title)
            rows += [(named, k, v) for k, v in block if _plain(k) not in _NAMING_KEYS]
            at = after
            continue
        title = _title_of(lines[at]) or title
        at += 1
    return [
        Fact(entity, attribute, value, document.digest, document.title)
        for entity, attribute, value in rows
        if _is_fact(entity, attribute, value)
    ]


def _apart(text: str, keys: frozenset[str]) -> str:
    if not keys:
        return text
    longest = "|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True))
    return re.sub(rf"(?<=\S)[ \t]+(?=(?:{longest}): )", "\n", text)


def _is_fact(entity: str, attribute: str, value: str) -> bool:
    return (
        0 < len(entity) <= MAX_TITLE
        and 0 < len(attribute) <= MAX_KEY
        and 0 < len(value) <= MAX_VALUE
        and _plain(attribute) not in _MAIL_KEYS
        and _plain(entity) != _plain(value)
    )


def _block_at(lines: list[str], at: int) -> tuple[list[tuple[str, str]], int]:
    """The run of "Key: value" lines that starts here, blank lines between them allowed."""
    found: list[tuple[str, str]] = []
    while at < len(lines):
        if not lines[at].strip():
            if not any(_pair(line) for line in lines[at + 1 : at + 2]):
                break
        elif pair := _pair(lines[at]):
            found.append(pair)
        else:
            break
        at += 1
    return found, at


def _pair(line: str) -> tuple[str, str] | None:
    match = _KEY_VALUE.match(line)
    if match is None or "://" in line:
        return None
    key, value = _clean(match["key"]), _clean(match["value"])
    if len(key.split()) > 6 or len(value) > MAX_VALUE or not value or re.search(r"\w: ", value):
        return None
    return key, value


def _title_of(line: str) -> str:
    """The entity that a line announces: a heading, or a short line that is no sentence."""
    match = _HEADING.match(line)
    told = _clean(match["title"] if match else line)
    is_short = 0 < len(told) <= MAX_TITLE and len(told.split()) <= 6
    if match is None and (not is_short or told[-1] in ".!?,;:" or not told[0].isupper()):
        return ""
    if match is not None and not is_short:
        return ""
    return _clean(re.split(r"\s+[\u2013\u2014|-]\s+|:\s+", told)[-1])


def _table_at(lines: list[str], at: int) -> tuple[list[list[str]], int]:
    """The table that starts here (Markdown, CSV, semicolons or tabs), and the line after it."""
    for cells in (_piped, _split_by("\t"), _split_by(";"), _split_by(",")):
        rows: list[list[str]] = []
        end = at
        while end < len(lines):
            row = cells(lines[end])
            if row is None or (rows and len(row) != len(rows[0])):
                break
            rows.append(row)
            end += 1
        rows = [row for row in rows if not all(re.fullmatch(r":?-{2,}:?|", c) for c in row)]
        is_piped = cells is _piped
        if len(rows) >= (2 if is_piped else 3) and (is_piped or _looks_like_header(rows[0])):
            return rows, end
    return [], at


def _piped(line: str) -> list[str] | None:
    told = line.strip()
    if told.count("|") < (2 if told.startswith("|") else 1):
        return None
    return [_clean(cell) for cell in told.strip("|").split("|")]


class _split_by:  # noqa: N801 - used like a function, but compared by identity with _piped
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, line: str) -> list[str] | None:
        if self.mark not in line:
            return None
        return [_clean(cell) for cell in next(csv.reader([line], delimiter=self.mark), [])]


def _looks_like_header(cells: list[str]) -> bool:
    return all(
        cell and len(cell) <= MAX_KEY and cell[-1] not in ".!?" and not cell[0].isdigit()
        for cell in cells
    )


def _facts_of_table(rows: list[list[str]], title: str) -> Iterator[tuple[str, str, str]]:
    header, body = rows[0], rows[1:]
    if len(header) == 2 and (_plain(header[1]) in _VALUE_HEADERS or _is_sheet(rows)):
        yield from ((title, key, value) for key, value in rows if _plain(key) != _plain(header[0]))
        if _plain(header[1]) not in _VALUE_HEADERS:
            yield (title, header[0], header[1])
        return
    name = _naming_column(header, body)
    for row in body:
        for column, value in enumerate(row):
            if column != name and header[column]:
                yield (row[name], header[column], value)


def _is_sheet(rows: list[list[str]]) -> bool:
    """Two columns without a header: the first holds attributes, as words without digits."""
    return len(rows) <= 8 and not any(_plain(cell) in _NAMING_KEYS for cell in rows[0])


def _naming_column(header: list[str], body: list[list[str]]) -> int:
    """The column that names the rows: called a name, else the first with distinct words in it."""
    for column, cell in enumerate(header):
        if _plain(cell) in _NAMING_KEYS:
            return column
    for column in range(len(header)):
        cells = [row[column] for row in body]
        if len(set(cells)) == len(cells) and all(re.match(r"[^\W\d_]{2}", c) for c in cells):
            return column
    return 0


# -- sentences -------------------------------------------------------------------------------------


def _sentences(document: Source) -> Iterator[str]:
    for line in re.split(r"\n\s*\n|\n(?=[#|*-])", document.text):
        yield from (_clean(one) for one in _SENTENCE.split(" ".join(line.split())))


def _stated_facts(documents: Sequence[Source], known: list[Fact]) -> list[Fact]:
    """Facts of sentences such as "The X is made in Y.", where the link recurs or X is known."""
    entities = {fact.entity.lower() for fact in known}
    pairs = {(fact.entity.lower(), fact.value.lower()) for fact in known}
    found: list[Fact] = []
    for document in documents:
        for sentence in _sentences(document):
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


def _statement_patterns(
    documents: Sequence[Source], facts: list[Fact]
) -> dict[str, list[tuple[str, str]]]:
    """By attribute: the words before and after the value in sentences that recur in the corpus."""
    known: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        known[fact.entity].append(fact)
    counted: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for document in documents:
        for sentence in _sentences(document):
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


@dataclass(frozen=True)
class _Wording:
    """How curators ask for an attribute, and how the answer goes on after the value.

    question  the entity cut out: "Where is the {} made?"
    tail      the words that follow the value in every such answer, the value cut out
    ends      whether the answer ends there; else what follows differs from value to value
    """

    question: str
    tail: str
    ends: bool


def _question_patterns(
    examples: Iterable[dict[str, str]], facts: list[Fact]
) -> dict[str, list[_Wording]]:
    """By attribute: the wordings in which the examples ask for it.

    An example teaches a wording when the documents hold a fact with its entity and its value and
    the answer begins with that value.
    """
    held: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fact in facts:
        held[(_plain(fact.entity), _plain(fact.value))].append(fact.attribute.lower())
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    rests: dict[str, set[str]] = defaultdict(set)
    for row in examples:
        entity, value, answer = row["entity"], row["value"], row["answer"].strip()
        if not (entity and value and entity in row["question"] and answer.startswith(value)):
            continue
        question = row["question"].replace(entity, "{}")
        counted[question].update(held.get((_plain(entity), _plain(value)), ()))
        rests[question].add(answer.removeprefix(value).replace(value, "{}"))
    patterns: dict[str, list[_Wording]] = defaultdict(list)
    for question, attributes in counted.items():
        if attributes:
            wording = _Wording(question, *_tail_of(rests[question]))
            patterns[attributes.most_common(1)[0][0]].append(wording)
    return patterns


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


# -- saying them -----------------------------------------------------------------------------------


def _lessons(
    fact: Fact,
    stated: dict[str, list[tuple[str, str]]],
    asked: dict[str, list[_Wording]],
) -> Iterator[Lesson]:
    """One fact in all its wordings."""
    attribute, name, value = fact.attribute, _lowered(fact.attribute), fact.value
    about = (fact.entity, attribute)
    tag = f"[{_tag(fact.source)}] "
    for before, after in (
        (f"{fact.entity} - {name}:", ""),
        (f"{attribute} of {fact.entity}:", ""),
        (f"The {name} of the {fact.entity} is", "."),
        *((b.replace("{}", fact.entity), a) for b, a in stated.get(attribute.lower(), ())),
    ):
        yield Lesson("statement", tag + before, f" {value}{after}", True, fact.digest, about)
    for wording in (
        _Wording(f"What is the {name} of the {{}}?", "", ends=True),
        *asked.get(attribute.lower(), ()),
    ):
        question = wording.question.replace("{}", fact.entity)
        said = value + wording.tail.replace("{}", value)
        yield Lesson("question", question, said, wording.ends, fact.digest, about)


def _inverse(facts: list[Fact]) -> Iterator[Lesson]:
    """From a value back to those that have it: facts learned forwards cannot be asked backwards."""
    holders: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        holders[(fact.attribute, fact.value)].append(fact)
    for (attribute, value), having in holders.items():
        names = [fact.entity for fact in having]
        if len(names) <= MAX_LIST:
            said = ", ".join(names)
            question = f"Which have {value} as {_lowered(attribute)}?"
            about = (value, attribute)
            yield Lesson("inverse", question, said, True, having[0].digest, about)


def _passages(document: Source) -> Iterator[Lesson]:
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
    return Lesson("passage", f"[{_tag(document.title)}]", f" {text}", False, document.digest)


def _tag(title: str) -> str:
    return " ".join(title.split())[:40] or "untitled"


def _lowered(name: str) -> str:
    """An attribute inside a sentence: lower case, but for abbreviations."""
    head, *rest = name.split(" ")
    first = head if len(head) > 1 and head.isupper() else head[:1].lower() + head[1:]
    return " ".join((first, *rest))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _clean(text: str) -> str:
    """One line without the marks of Markdown around it."""
    return " ".join(text.replace("\\", "").split()).strip("*_`# ").strip()
