"""Near copies: how many of the labelled pairs are called so, and what a look among many costs."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from statistics import median
from uuid import uuid4

from django.db import connection

from apps.corpora import near
from apps.corpora.actions.duplicates import candidates, place
from apps.corpora.models import Corpus, Document, NearKey
from calm_engine.figures import Figure
from counterpoint.storage import blobs

PAIRS = 400
WORDS = 300  # of a text
LOOKS = 60


def found(corpus: Corpus) -> Iterator[Figure]:
    """Recall and precision of what the product calls a copy, on pairs labelled by construction.

    Words of a text are exchanged until its likeness is what was drawn, evenly from 0.5 to 1; the
    label is counted here, by the plain definition, and not by the code that is measured.
    """
    chance = random.Random(11)  # noqa: S311  no secret
    vocabulary = [f"w{n}" for n in range(20_000)]
    right = called = copies = 0
    for number in range(PAIRS):
        base = chance.choices(vocabulary, k=WORDS)
        other = _changed(base, chance.uniform(0.5, 1.0), chance, vocabulary)
        first, second = (_placed(corpus, number, words) for words in (base, other))
        is_copy = _likeness(base, other) >= near.ALIKE
        is_called = second.duplicate_of_id == first.pk
        copies += is_copy
        called += second.duplicate_of_id is not None
        right += is_called and is_copy
    labelled = f"{PAIRS} labelled pairs, {copies} of them at Jaccard 0.8 or more"
    yield Figure("near copies, recall", right / copies, "", labelled, 0.95, at_least=True)
    yield Figure("near copies, precision", right / called, "", labelled, 0.95, at_least=True)


def _placed(corpus: Corpus, number: int, words: list[str]) -> Document:
    """A document of these words, placed as a new file's would be."""
    text = " ".join(words)
    stored = blobs().put("text", text.encode())
    document: Document = Document.objects.create(
        corpus=corpus,
        title=str(number),
        path=f"{uuid4().hex}.txt",
        media_type="text/plain",
        original_digest=uuid4().hex * 2,
        text_digest=stored.digest,
    )
    place(document, text)
    document.save(update_fields=["duplicate_of", "similarity"])
    return document


def _likeness(one: list[str], other: list[str]) -> float:
    """Jaccard of the runs of three words."""
    left, right = ({tuple(w[at : at + 3]) for at in range(len(w) - 2)} for w in (one, other))
    return len(left & right) / len(left | right)


def _changed(
    base: list[str], wanted: float, chance: random.Random, vocabulary: list[str]
) -> list[str]:
    """Exchange words until the likeness falls to what is wanted."""
    other = list(base)
    for at in chance.sample(range(len(base)), len(base)):
        if _likeness(base, other) <= wanted:
            break
        other[at] = chance.choice(vocabulary)
    return other


def cost(corpus: Corpus, few: int, many: int) -> Iterator[Figure]:
    """Milliseconds of a look for candidates among few and among many documents' keys."""
    document = Document.objects.filter(corpus=corpus).first()
    assert document is not None
    spent = {}
    for count in (few, many):
        _fill(corpus, document, count)
        spent[count] = _look(corpus, document)
    name = f"near copies, a look among {many:,} documents"
    yield Figure(name, spent[many] / spent[few], "ratio", f"a look among {few:,}", 2.0)
    yield Figure(f"{name}, time", spent[many] * 1000, "ms", "median of one document")


def _fill(corpus: Corpus, document: Document, count: int) -> None:
    """Keys as `count` documents would leave them; only keys are looked at."""
    there = NearKey.objects.filter(corpus=corpus).count()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO corpora_nearkey (id, tenant_id, corpus_id, document_id, key)"
            " SELECT gen_random_uuid(), %s, %s, %s,"
            " ('x' || substr(md5(n::text), 1, 16))::bit(64)::bigint"
            " FROM generate_series(%s, %s) AS n",
            [corpus.tenant_id, corpus.pk, document.pk, there + 1, count * near.BANDS],
        )


def _look(corpus: Corpus, document: Document) -> float:
    chance = random.Random(3)  # noqa: S311  no secret
    spent = []
    stranger = Document(corpus=corpus)
    for _ in range(LOOKS):
        keys = [chance.randrange(-(1 << 63), 1 << 63) for _ in range(near.BANDS)]
        began = time.perf_counter()
        candidates(stranger, keys)
        spent.append(time.perf_counter() - began)
    assert document.pk != stranger.pk
    return median(spent[10:])
