"""Find facts in tables and in "Key: value" lines under a title. Knows no company and no prose."""

from __future__ import annotations

import re
from collections.abc import Iterable

from calm_engine.selfstudy.names import (
    MAX_ENTITY,
    MAX_VALUE,
    is_attribute,
    is_entity,
    is_label,
    is_value,
)
from calm_engine.selfstudy.nouns import Fact, Source
from calm_engine.selfstudy.tables import NAMING_KEYS, facts_of_table, table_at
from calm_engine.selfstudy.words import clean, plain

TITLE_HOLDS = 8  # lines of prose behind a title without marks, after which it tells no more
CODE_INDENT = 4  # spaces from which a line may be code, and is no title

_MAIL_KEYS = {"from", "to", "cc", "bcc", "subject", "date", "sent", "reply to", "message id"}
_KEY_VALUE = re.compile(
    r"^\s*(?:[-*•\u2013·]\s+)?(?:\*\*|__)?(?P<key>[^\W\d_][^:|*]{0,47}?)(?:\*\*|__)?\s*:\s*(?:\*\*|__)?\s*"
    r"(?P<value>\S.*?)\s*(?:\*\*|__)?\s*$"
)
_HEADING = re.compile(r"^ {0,3}(?:#{1,6}\s+|\*\*)(?P<title>.+?)(?:\*\*|\s#+)?\s*$")
_FENCE = re.compile(r"^ {0,3}(?P<mark>`{3,}|~{3,})")


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
    above = _Above(document.title)
    lines = _without_listings(_apart(document.text, keys).splitlines())
    at = 0
    while at < len(lines):
        table, after = table_at(lines, at)
        if table:
            rows += facts_of_table(table, above.title)
            at = after
            continue
        is_prose = _goes_on(lines, at)
        block, after = ([], at) if is_prose else _block_at(lines, at)
        if block:
            named = next((v for k, v in block if plain(k) in NAMING_KEYS), above.title)
            rows += [(named, k, v) for k, v in block if plain(k) not in NAMING_KEYS]
            at = after
            continue
        above.pass_by(lines, at, is_prose=is_prose)
        at += 1
    return [
        Fact(entity, attribute, value, document.digest, document.title)
        for entity, attribute, value in rows
        if _is_fact(entity, attribute, value)
    ]


class _Above:
    """The title that facts stand under, until the next one, or until prose has led away from it."""

    def __init__(self, title: str) -> None:
        self.title = clean(title)
        self._holds: int | None = None  # lines of prose; None: as long as no other title comes

    def pass_by(self, lines: list[str], at: int, *, is_prose: bool) -> None:
        """Take note of a line that states no fact."""
        found = "" if is_prose else _title_of(lines, at)
        if found and _HEADING.match(lines[at]):
            # What names nothing ends what was above it all the same.
            self.title, self._holds = found if is_entity(found) else "", None
        elif is_entity(found):
            self.title, self._holds = found, TITLE_HOLDS
        elif lines[at].strip() and self._holds is not None:
            self._holds -= 1
            if self._holds < 0:
                self.title = ""


def _without_listings(lines: list[str]) -> list[str]:
    """The lines, those of fenced listings blank: what stands there is code, or output."""
    kept, mark = list[str](), ""
    for line in lines:
        fence = _FENCE.match(line)
        is_end = bool(mark) and line.strip().startswith(mark)
        if fence and not mark:
            mark = fence["mark"]
        kept.append("" if mark else line)
        if is_end:
            mark = ""
    return kept


def _apart(text: str, keys: frozenset[str]) -> str:
    if not keys:
        return text
    longest = "|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True))
    return re.sub(rf"(?<=\S)[ \t]+(?=(?:{longest}): )", "\n", text)


def _is_fact(entity: str, attribute: str, value: str) -> bool:
    return (
        is_entity(entity)
        and "://" not in entity
        and is_attribute(attribute)
        and is_value(value)
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


def _title_of(lines: list[str], at: int) -> str:
    """The entity that a line announces: a heading, or a short line that is no sentence."""
    match = _HEADING.match(lines[at])
    told = clean(match["title"] if match else lines[at])
    is_short = 0 < len(told) <= MAX_ENTITY and len(told.split()) <= 6
    if not is_short or is_label(told):
        return ""
    if match is None and (told[-1] in ".!?,;:" or not told[0].isupper() or _is_listed(lines, at)):
        return ""
    return clean(re.split(r"\s+[\u2013\u2014|-]\s+|:\s+", told)[-1])


def _is_listed(lines: list[str], at: int) -> bool:
    """Whether a line may stand in a listing: it is indented, and heads nothing further in."""
    indent = _indent(lines[at])
    if indent < CODE_INDENT:
        return False
    after = next((lines[n] for n in range(at + 1, len(lines)) if lines[n].strip()), "")
    return _indent(after) <= indent


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
