"""Finds passages of a corpus by their words, and by their letters where no word fits.

Row-level security comes before every operator that PostgreSQL does not call leakproof, text search
among them, so an index over words would never be used: the passages of one corpus are looked
through instead, under a time limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.contrib.postgres.search import (
    SearchHeadline,
    SearchQuery,
    SearchRank,
    TrigramWordSimilarity,
)
from django.db import OperationalError, connection, transaction
from django.db.models import F

from apps.corpora.models import Corpus, Passage
from apps.tenants.typed import to_find
from calm_engine.errors import InputError

MOST = 50  # passages shown
SECONDS = 5
OPERATORS = set('"-')  # who writes these means words, and not their likes
LIKENESS = 0.5  # of letters, when no passage has the words
OPEN, CLOSE = "\x02", "\x03"  # around a match; extracted texts hold no control characters


@dataclass(frozen=True)
class Hit:
    """One passage with its match marked: (words, whether they matched), in order."""

    passage: Passage
    parts: list[tuple[str, bool]]


def find(corpus: Corpus, query: str) -> list[Hit]:
    """The passages that fit best. Raises InputError("search.slow") when looking takes too long."""
    wanted = to_find(query)
    if not wanted:
        return []
    with looking():
        found = _by_words(corpus, wanted)
        if not found and not OPERATORS & set(wanted):
            found = _by_letters(corpus, wanted)
    return found


@contextmanager
def looking() -> Iterator[None]:
    """Each query inside has SECONDS. Raises InputError("search.slow") for one that has not enough.

    The queries must be read to their ends inside.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = %s", [SECONDS * 1000])
            yield
            cursor.execute("SET LOCAL statement_timeout = 0")
    except OperationalError as error:
        if "statement timeout" not in str(error):
            raise
        raise InputError("search.slow", seconds=SECONDS) from error


def _by_words(corpus: Corpus, wanted: str) -> list[Hit]:
    query = SearchQuery(wanted, config="simple", search_type="websearch")
    best = (
        Passage.objects.filter(corpus=corpus, words=query)
        .annotate(rank=SearchRank(F("words"), query))
        .order_by("-rank", "document_id", "start")
    )
    chosen = list(best.values_list("pk", flat=True)[:MOST])
    shown = Passage.objects.filter(pk__in=chosen).select_related("document").defer("words")
    shown = shown.annotate(
        head=SearchHeadline(
            "body",
            query,
            config="simple",
            start_sel=OPEN,
            stop_sel=CLOSE,
            max_words=45,
            min_words=20,
        )
    )
    by_key = {passage.pk: passage for passage in shown}
    return [Hit(by_key[pk], marked(by_key[pk].head.strip())) for pk in chosen]


def _by_letters(corpus: Corpus, wanted: str) -> list[Hit]:
    near = (
        Passage.objects.filter(corpus=corpus)
        .annotate(likeness=TrigramWordSimilarity(wanted, "body"))
        .filter(likeness__gte=LIKENESS)
        .order_by("-likeness", "document_id", "start")
        .select_related("document")
        .defer("words")
    )
    return [Hit(passage, [(passage.body[:400], False)]) for passage in near[:MOST]]


def marked(head: str) -> list[tuple[str, bool]]:
    """The pieces of a headline, each with whether it matched."""
    parts = []
    for piece in head.split(OPEN):
        hit, mark, rest = piece.partition(CLOSE)
        parts += [(hit, True), (rest, False)] if mark else [(piece, False)]
    return [(words, is_hit) for words, is_hit in parts if words]
