"""Looks up the few passages that a model should read before it answers a question.

By words: a passage counts for every word of the question that it holds, a rare word for more than a
common one. Sources: inverse document frequency as in BM25, S. Robertson, H. Zaragoza, The
Probabilistic Relevance Framework (2009). Who may read the corpora is for the caller to know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import reduce
from operator import add, or_
from typing import Any
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db.models import Case, Count, FloatField, Q, Value, When

from apps.corpora.models import Document, DocumentState, Passage
from apps.corpora.search import looking
from calm_engine.errors import InputError

MOST = 3  # passages; a small model loses its way in more
WORD = re.compile(r"\w+(?:[-.,']\w+)*")
MOST_WORDS = 40  # of a question
TELLING = 8  # words, the rarest, that are looked for


def passages_for(corpora: Sequence[UUID], question: str) -> list[Passage]:
    """The passages of these corpora that fit the question best, the best first; none may fit.

    None, too, where looking takes too long: an answer does without rather than fail.
    """
    with suppress(InputError):
        return _best(corpora, question)
    return []


def _best(corpora: Sequence[UUID], question: str) -> list[Passage]:
    words = list(dict.fromkeys(found.lower() for found in WORD.findall(question)))[:MOST_WORDS]
    if not words:
        return []
    queries = [SearchQuery(word, config="simple", search_type="phrase") for word in words]
    ready = Document.objects.filter(corpus__in=corpora, state=DocumentState.READY)
    rows = Passage.objects.filter(corpus__in=corpora, document__in=ready)
    with looking():
        weights = _telling(rows, queries)
        if not weights:
            return []
        holds = [Case(When(words=q, then=Value(w)), default=Value(0.0)) for q, w in weights]
        fit = reduce(or_, (query for query, _ in weights))
        best = rows.filter(words=fit).annotate(score=reduce(add, holds, Value(0.0, FloatField())))
        best = best.select_related("document").defer("words")
        return list(best.order_by("-score", "document_id", "start")[:MOST])


def _telling(rows: Any, queries: Sequence[SearchQuery]) -> list[tuple[SearchQuery, float]]:
    """The rarest words that stand somewhere, each with its weight."""
    counts = {f"of_{i}": Count("pk", filter=Q(words=query)) for i, query in enumerate(queries)}
    found = rows.aggregate(every=Count("pk"), **counts)
    held = [(query, found[f"of_{i}"]) for i, query in enumerate(queries)]
    weights = [
        (query, math.log1p((found["every"] - count + 0.5) / (count + 0.5)))
        for query, count in held
        if count
    ]
    return sorted(weights, key=lambda told: told[1], reverse=True)[:TELLING]
