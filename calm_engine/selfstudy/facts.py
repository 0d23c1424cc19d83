"""Find facts in tables and in "Key: value" lines under a title. Knows no company and no prose."""

from __future__ import annotations

import re
from collections.abc import Iterable

from calm_engine.selfstudy.nouns import Fact, Source
from calm_engine.selfstudy.tables import MAX_KEY, NAMING_KEYS, facts_of_table, table_at
from calm_engine.selfstudy.words import clean, plain

MAX_VALUE = 90  # characters of a value
MAX_TITLE = 60  # characters of an entity's name

_MAIL_KEYS = {"from", "to", "cc", "bcc", "subject", "date", "sent", "reply to", "message id"}
_KEY_VALUE = re.compile(
    r"^\s*(?:[-*•\u2013·]\s+)?(?:\*\*|__)?(?P<key>[^\W\d_][^:|*]{0,47}?)(?:\*\*|__)?\s*:\s*(?:\*\*|__)?\s*"
    r"(?P<value>\S.*?)\s*(?:\*\*|__)?\s*$"
)
_HEADING = re.compile(r"^\s*(?:#{1,6}\s+|\*\*)(?P<title>.+?)(?:\*\*|\s#+)?\s*$")


def merge(facts: Iterable[Fact]) -> list[Fact]:
    """Each fact once, in the order found; names that differ in case only are one name."""
    seen: dict[tuple[str, str, str], Fact] = {}
    for fact in facts:
        key = (fact.entity.lower(), fact.attribute.lower(), fact.value.lower())
        seen.setdefault(key, fact)
    return list(seen.values())


def facts_in(document: Source, *, keys: frozenset[str] = frozenset()) -> list[Fact]:
    """The facts that tables and "Key: value" lines of one document state.

    keys  attributes known from elsewhere: a line that runs several of them together, as text from
          a PDF often does, is taken apart before them
    """
    rows: list[tuple[str, str, str]] = []
    title = clean(document.title)
    lines = _apart(document.text, keys).splitlines()
    at = 0
    while at < len(lines):
        table, after = table_at(lines, at)
        if table:
            rows += facts_of_table(table, title)
            at = after
            continue
        is_prose = _goes_on(lines, at)
        block, after = ([], at) if is_prose else _block_at(lines, at)
        if block:
            named = next((v for k, v in block if plain(k) in NAMING_KEYS), title)
            rows += [(named, k, v) for k, v in block if plain(k) not in NAMING_KEYS]
            at = after
            continue
        title = title if is_prose else _title_of(lines[at]) or title
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
        and "://" not in entity
        and 0 < len(attribute) <= MAX_KEY
        and 0 < len(value) <= MAX_VALUE
        and plain(attribute) not in _MAIL_KEYS
        and plain(entity) != plain(value)
    )


def _block_at(lines: list[str], at: int) -> tuple[list[tuple[str, str]], int]:
    """The run of "Key: value" lines that starts here, blank lines between them allowed."""
    found: list[tuple[str, str]] = []
    while at < len(lines):
        if not lines[at].strip():
            if not any(_pair(line) for line in lines[at + 1 : at + 2]):
                break
        elif (pair := _pair(lines[at])) and not _wraps(lines, at):
            found.append(pair)
        else:
            break
        at += 1
    return found, at


def _goes_on(lines: list[str], at: int) -> bool:
    """Whether this line is the next of a wrapped paragraph: the one before ends in mid-sentence."""
    before = lines[at - 1].rstrip() if at else ""
    is_row = bool(_HEADING.match(before)) or "|" in before or _pair(before) is not None
    return len(before.split()) >= 6 and before[-1] not in ".:!?" and not is_row


def _wraps(lines: list[str], at: int) -> bool:
    """Whether the value goes on in the next line: then it is a sentence with a colon in it."""
    after = lines[at + 1].strip() if at + 1 < len(lines) else ""
    return after[:1].islower()


def _pair(line: str) -> tuple[str, str] | None:
    match = _KEY_VALUE.match(line)
    if match is None or "://" in line:
        return None
    key, value = clean(match["key"]), clean(match["value"])
    if len(key.split()) > 6 or len(value) > MAX_VALUE or not value or re.search(r"\w: ", value):
        return None
    return key, value


def _title_of(line: str) -> str:
    """The entity that a line announces: a heading, or a short line that is no sentence."""
    match = _HEADING.match(line)
    told = clean(match["title"] if match else line)
    is_short = 0 < len(told) <= MAX_TITLE and len(told.split()) <= 6
    if match is None and (not is_short or told[-1] in ".!?,;:" or not told[0].isupper()):
        return ""
    if match is not None and not is_short:
        return ""
    return clean(re.split(r"\s+[\u2013\u2014|-]\s+|:\s+", told)[-1])
