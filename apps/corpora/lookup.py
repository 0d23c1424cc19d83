"""Looks up the few passages that a model should read before it answers a question.

By words: a passage counts for every word of the question that it holds, a rare word for more than a
common one. By meaning, where an embedder read question and passages: the nearest by their vectors.
Two rankings become one by the places that a passage has in them, as in a report card. Sources:
inverse document frequency as in BM25, S. Robertson, H. Zaragoza, The Probabilistic Relevance
Framework (2009); reciprocal rank fusion, G. Cormack et al., SIGIR 2009. Who may read the corpora is
for the caller to know.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from operator import add, or_
from typing import Any
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db.models import Case, Count, FloatField, Q, Value, When
from pgvector.django import CosineDistance

from apps.corpora.models import Document, DocumentState, Passage
from apps.corpora.search import looking
from calm_engine.errors import InputError

MOST = 3  # passages; a small model loses its way in more
CANDIDATES = 50  # of each ranking
DAMPED = 60  # of reciprocal rank fusion
WORD = re.compile(r"\w+(?:[-.,']\w+)*")
MOST_WORDS = 40  # of a question
TELLING = 8  # words, the rarest, that are looked for


@dataclass(frozen=True)
class Meaning:
    """What a question is about: its vector, and the digest of the embedder that made it."""

    embedder: str
    vector: list[float]


def passages_for(
    corpora: Sequence[UUID], question: str, meaning: Meaning | None = None
) -> list[Passage]:
    """The passages of these corpora that fit the question best, the best first; none may fit.

    A way of looking that takes too long finds nothing: an answer does without rather than fail.
    """
    ready = Document.objects.filter(corpus__in=corpora, state=DocumentState.READY)
    rows = Passage.objects.filter(corpus__in=corpora, document__in=ready)
    rankings = [_by_words(rows, question)]
    if meaning is not None:
        rankings.append(_by_meaning(rows, meaning))
    scores: dict[UUID, float] = defaultdict(float)
    for ranking in rankings:
        for place, passage in enumerate(ranking):
            scores[passage] += 1 / (DAMPED + place)
    best = sorted(scores, key=lambda passage: -scores[passage])[:MOST]
    found = Passage.objects.select_related("document").defer("words", "vector").in_bulk(best)
    return [found[passage] for passage in best if passage in found]


def _by_meaning(rows: Any, meaning: Meaning) -> list[UUID]:
    """The nearest; those that this embedder has not read yet are not among them."""
    apart = CosineDistance("vector", meaning.vector)
    with suppress(InputError), looking():
        near = rows.filter(embedded_by=meaning.embedder)
        return _chosen(near.order_by(apart, "document_id", "start"))
    return []


def _by_words(rows: Any, question: str) -> list[UUID]:
    words = list(dict.fromkeys(found.lower() for found in WORD.findall(question)))[:MOST_WORDS]
    if not words:
        return []
    queries = [SearchQuery(word, config="simple", search_type="phrase") for word in words]
    with suppress(InputError), looking():
        weights = _telling(rows, queries)
        if not weights:
            return []
        holds = [Case(When(words=q, then=Value(w)), default=Value(0.0)) for q, w in weights]
        fit = reduce(or_, (query for query, _ in weights))
        best = rows.filter(words=fit).annotate(score=reduce(add, holds, Value(0.0, FloatField())))
        return _chosen(best.order_by("-score", "document_id", "start"))
    return []


def _chosen(rows: Any) -> list[UUID]:
    return list(rows.values_list("pk", flat=True)[:CANDIDATES])


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
