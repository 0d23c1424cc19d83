"""Which words of an answer stand word for word in documents that it learned and one may read.

Runs of words alone: that they stand there is a fact, that they are the reason is not claimed. No
run is found by likeness, and no source is named that cannot be opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib.postgres.search import SearchQuery

from apps.chat.models import Message
from apps.corpora.lookup import WORD
from apps.corpora.models import Document, DocumentState, Passage, Snapshot
from apps.corpora.search import looking
from apps.registry.closure import lacking

if TYPE_CHECKING:
    from apps.accounts.models import User

LEAST = 5  # words in a row that are worth showing; fewer where the answer has fewer
WINDOW = 3  # every run of LEAST words holds one window that begins at a multiple of WINDOW
MOST_WINDOWS = 80
LOOKED_AT = 200  # passages
SHOWN = 8
AROUND = 120  # characters on either side of a run


@dataclass(frozen=True)
class Match:
    """One run of words of the answer in one passage, with what stands around it.

    url   its document, open at these words
    """

    passage: Passage
    before: str
    words: str
    after: str
    url: str


@dataclass(frozen=True)
class Evidence:
    """What is known of one answer.

    share     of its words, how many stand in some run, 0 to 1
    snapshot  what the version learned
    """

    matches: Sequence[Match]
    share: float
    snapshot: Snapshot

    @property
    def percent(self) -> int:
        return round(self.share * 100)


def evidence_for(answer: Message, user: User) -> Evidence:
    """The longest runs first. Raises InputError("search.slow") when looking takes too long."""
    maker = answer.maker
    shut = {corpus.pk for corpus in lacking(user, [maker])[maker.pk]}
    open_corpora = [corpus for corpus in maker.closure if corpus not in shut]
    words = [found.group().lower() for found in WORD.finditer(answer.text)]
    least = min(LEAST, len(words))
    passages = _candidates(words, open_corpora) if least > 1 else []
    runs = [(found, passage) for passage in passages for found in _runs(words, passage, least)]
    runs.sort(key=lambda run: run[0].size, reverse=True)
    covered: set[int] = set()
    matches = []
    for run, passage in runs:
        places = set(range(run.start, run.start + run.size))
        if places <= covered:
            continue
        covered |= places
        matches.append(_match(run, passage))
    share = len(covered) / len(words) if words else 0.0
    return Evidence(matches[:SHOWN], share, maker.snapshot)


@dataclass(frozen=True)
class _Run:
    """So many words of the answer from `start`; in the passage they are these characters."""

    start: int
    size: int
    begin: int
    end: int


def _candidates(words: Sequence[str], corpora: Sequence[UUID]) -> list[Passage]:
    """Passages that hold some three words of the answer in a row."""
    size = min(WINDOW, len(words))
    windows = [words[at : at + size] for at in range(0, len(words) - size + 1, WINDOW)]
    phrases = [
        SearchQuery(" ".join(window), config="simple", search_type="phrase")
        for window in windows[:MOST_WINDOWS]
    ]
    ready = Document.objects.filter(corpus__in=corpora, state=DocumentState.READY)
    rows = Passage.objects.filter(corpus__in=corpora, words=reduce(or_, phrases))
    rows = rows.filter(document__in=ready).select_related("document").defer("words")
    with looking():
        return list(rows.order_by("document_id", "start")[:LOOKED_AT])


def _runs(words: Sequence[str], passage: Passage, least: int) -> list[_Run]:
    """The runs of at least so many words that the answer and this passage share, each once."""
    there = list(WORD.finditer(passage.body))
    said = [found.group().lower() for found in there]
    places: dict[tuple[str, ...], list[int]] = {}
    for at in range(len(said) - least + 1):
        places.setdefault(tuple(said[at : at + least]), []).append(at)
    found, at = [], 0
    while at <= len(words) - least:
        best, begin = 0, 0
        for place in places.get(tuple(words[at : at + least]), []):
            size = least
            while words[at + size : at + size + 1] == said[place + size : place + size + 1] != []:
                size += 1
            if size > best:
                best, begin = size, place
        if best:
            last = there[begin + best - 1]
            found.append(_Run(at, best, there[begin].start(), last.end()))
        at += best or 1
    return found


def _match(run: _Run, passage: Passage) -> Match:
    body = passage.body
    return Match(
        passage,
        before=body[max(0, run.begin - AROUND) : run.begin],
        words=body[run.begin : run.end],
        after=body[run.end : run.end + AROUND],
        url=passage.address(run.begin, run.end),
    )
