"""Words of forgotten documents that people pasted, or models repeated, in any conversation.

Whatever answered and whoever wrote: a run of LEAST words in a row that stands in a document stands
in the message too, however either is spaced, cased or punctuated. Runs are found by words alone;
what was said in other words is not. Reads messages, gives no sight of them, changes none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from apps.corpora.models import Passage

LEAST = 8  # words; a quote, and hardly chance
WINDOW = 4  # every run of LEAST words holds one window that begins at a multiple of STEP
STEP = LEAST - WINDOW + 1
AT_ONCE = 500_000  # words of documents held in memory; more of them read the messages again
STRUCK = "[forgotten]"
SAID = ("text", "rating_text")  # what of a message was written by somebody
# Where a script has no spaces, each of its signs is a word.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


def said_in(text: str) -> list[str]:
    """Its words, in small letters."""
    return [word.casefold() for word in WORD.findall(text)]


def rows_of(said: list[str], length: int, step: int = 1) -> Iterator[int]:
    """A number for every so many words in a row; equal words, equal numbers."""
    for at in range(0, len(said) - length + 1, step):
        yield hash(tuple(said[at : at + length]))


class Quoted:
    """The words of some documents, to be looked for in other texts."""

    def __init__(self, documents: Iterable[list[str]]) -> None:
        self._windows: set[int] = set()
        self._runs: set[int] = set()
        for said in documents:
            self._windows.update(rows_of(said, WINDOW))
            self._runs.update(rows_of(said, LEAST))

    def runs(self, text: str) -> list[tuple[int, int]]:
        """Where such runs begin and end in this text, in characters; none touches another."""
        said = said_in(text)
        if self._windows.isdisjoint(rows_of(said, WINDOW, STEP)):
            return []  # most texts: a fifth of the work
        found: list[tuple[int, int]] = []
        for at, row in enumerate(rows_of(said, LEAST)):
            if row not in self._runs:
                continue
            begin = found.pop()[0] if found and at <= found[-1][1] else at
            found.append((begin, at + LEAST))
        places = [each.span() for each in WORD.finditer(text)]
        return [(places[begin][0], places[end - 1][1]) for begin, end in found]


def quoted(documents: Any) -> Iterator[Quoted]:
    """The words of these documents, so many at a time that they fit in memory."""
    some: list[list[str]] = []
    count = 0
    for said in each_document(documents):
        some.append(said)
        count += len(said)
        if count >= AT_ONCE:
            yield Quoted(some)
            some, count = [], 0
    if some:
        yield Quoted(some)


def each_document(documents: Any) -> Iterator[list[str]]:
    """The words of each, passage after passage: a run may begin in one and end in the next."""
    rows = Passage.objects.filter(document__in=documents).order_by("document_id", "start")
    before = None
    said: list[str] = []
    for document, body in rows.values_list("document_id", "body").iterator(chunk_size=500):
        if document != before and said:
            yield said
            said = []
        before = document
        said += said_in(body)
    if said:
        yield said


def struck(text: str, runs: list[tuple[int, int]]) -> str:
    """The text without these runs of characters."""
    pieces, at = [], 0
    for begin, end in runs:
        pieces += [text[at:begin], STRUCK]
        at = end
    return "".join([*pieces, text[at:]])


def quoting(messages: Any, words: Quoted) -> Iterator[tuple[Any, Any]]:
    """Primary keys of messages that quote these words, each with that of its conversation."""
    rows = messages.values_list("pk", "conversation", *SAID)
    for pk, talk, *texts in rows.iterator(chunk_size=2000):
        if any(words.runs(text) for text in texts):
            yield pk, talk
