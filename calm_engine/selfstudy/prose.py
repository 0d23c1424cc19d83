"""Read a document's prose: numbered headings, paragraphs, items of lists, terms explained.

Takes text as extraction leaves it, Markdown or plain, lines wrapped or not. Finds no facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from calm_engine.selfstudy.words import clean

LONGEST_HEADING = 90  # characters

_MARKED = re.compile(r"^#{1,6}\s+(?P<title>.+?)\s*#*$")
_NUMBERED = re.compile(r"^(?P<number>(?:\d+|[A-Z])(?:\.\d+)*)\.?\s+(?P<title>[^\W\d_].*)$")
_RULE = re.compile(r"^([=\-~^*\"'`+#])\1{2,}\s*$")
_ITEM = re.compile(r"^\s*(?:[-*+•\u2013·]|\d{1,2}[.)]|[a-z][.)])\s+(?P<text>\S.*)$")
_FOOTNOTE = re.compile(r"\s?\[\d+\]_?")
_END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[\"'(*`]*[A-Z0-9])")
_SHORTENED = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|No|Sec|Fig|approx|resp|Mr|Mrs|Dr|St)\.$")


@dataclass(frozen=True)
class Block:
    """A piece of a document.

    kind    "heading", "paragraph", "item" or "term"
    text    its words on one line; of a term what it is explained by
    name    a heading's number, where it has one; a term
    """

    kind: str
    text: str
    name: str = ""


def blocks_of(text: str) -> Iterator[Block]:
    """The blocks of a text in their order."""
    lines = _FOOTNOTE.sub("", text).expandtabs(4).splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        run = _run_at(lines, at)
        yield from _blocks_of_run(run, is_alone=_is_alone(lines, at, len(run)))
        at += len(run)


def _run_at(lines: list[str], at: int) -> list[str]:
    """The lines from here to the next blank one."""
    end = at
    while end < len(lines) and lines[end].strip():
        end += 1
    return lines[at:end]


def _is_alone(lines: list[str], at: int, count: int) -> bool:
    return count == 1 and (at == 0 or not lines[at - 1].strip())


def _blocks_of_run(run: list[str], *, is_alone: bool) -> Iterator[Block]:
    if len(run) > 1 and _RULE.match(run[1]) and len(run[0].strip()) <= LONGEST_HEADING:
        yield _heading(run[0])
        run = run[2:]
    if run and (marked := _MARKED.match(run[0])):
        yield _heading(marked["title"])
        run = run[1:]
    elif run and is_alone and _NUMBERED.match(run[0]) and _may_head(run[0]):
        yield _heading(run[0])
        run = run[1:]
    if run:
        yield from _body(run)


def _may_head(line: str) -> bool:
    return len(line.strip()) <= LONGEST_HEADING and line.strip()[-1] not in ".,;:!?"


def _heading(line: str) -> Block:
    told = clean(line)
    if numbered := _NUMBERED.match(told):
        return Block("heading", numbered["title"], numbered["number"])
    return Block("heading", told)


def _body(run: list[str]) -> Iterator[Block]:
    """Items, a term with what explains it, or one paragraph."""
    if _ITEM.match(run[0]):
        yield from (Block("item", clean(one)) for one in _items(run))
    elif len(run) > 1 and _indent(run[1]) > _indent(run[0]) and _is_term(run[0]):
        yield Block("term", clean(" ".join(run[1:])), clean(run[0]).strip("\"'"))
    else:
        starts = [n for n, line in enumerate(run) if _ITEM.match(line)]
        cut = starts[0] if starts else len(run)
        yield Block("paragraph", clean(" ".join(run[:cut])))
        yield from (Block("item", clean(one)) for one in _items(run[cut:]))


def _items(run: list[str]) -> Iterator[str]:
    """The items of a list, lines that go on joined to theirs."""
    held = ""
    for line in run:
        if match := _ITEM.match(line):
            if held:
                yield held
            held = match["text"]
        elif held:
            held = f"{held} {line.strip()}"
    if held:
        yield held


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_term(line: str) -> bool:
    told = line.strip()
    return len(told.split()) <= 5 and len(told) <= 48 and told[-1] not in ".,;:!?"


def sentences_in(text: str) -> Iterator[str]:
    """The sentences of one line, abbreviations kept together."""
    held = ""
    for part in _END.split(text):
        held = f"{held} {part}" if held else part
        if not _SHORTENED.search(held):
            yield held
            held = ""
    if held:
        yield held
