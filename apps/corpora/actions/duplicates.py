"""Finds the document of the same corpus that a new one nearly repeats.

Incremental: nothing is reread but the few texts that share a key, and only texts that stand for
themselves have keys.
"""

from __future__ import annotations

from collections import Counter

from django.db import connection

from apps.corpora import near
from apps.corpora.models import Document, DocumentState, NearKey
from calm_engine.errors import InternalError
from counterpoint.storage import blobs

COMPARED = 8  # candidates counted out, those with most keys in common first
SHARING = """
    SELECT found.document_id FROM unnest(%s::bigint[]) AS asked(key) CROSS JOIN LATERAL (
        SELECT document_id FROM corpora_nearkey AS known
        WHERE known.corpus_id = %s AND known.key = asked.key AND document_id <> %s LIMIT %s
    ) AS found
"""


def place(document: Document, text: str) -> None:
    """Note on a document which one it nearly repeats, or give it keys of its own; saves nothing.

    Within one corpus documents are placed one at a time, until the transaction ends: of two copies
    that arrive together the second must see the first. So this comes last of what is slow.
    """
    parts = near.shingles(text)
    keys = near.bands(parts)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 11))", [str(document.corpus_id)]
        )
    for candidate in candidates(document, keys):
        share = near.jaccard(parts, _shingles_of(candidate))
        if share >= near.ALIKE:
            document.duplicate_of, document.similarity = candidate, round(share, 4)
            return
    document.duplicate_of, document.similarity = None, None
    _give_keys(document, keys)


def stand_for(document: Document, text: str) -> None:
    """Give a document keys of its own, whatever it is like."""
    leave(document)
    _give_keys(document, near.bands(near.shingles(text)))


def leave(document: Document) -> None:
    """Take a document's keys away: nothing will be called its copy."""
    NearKey.objects.filter(document=document).delete()


def _give_keys(document: Document, keys: list[int]) -> None:
    NearKey.objects.bulk_create(
        NearKey(corpus_id=document.corpus_id, document=document, key=key) for key in keys
    )


def candidates(document: Document, keys: list[int]) -> list[Document]:
    """Those that share most keys. Of a key that hundreds share, some are enough."""
    with connection.cursor() as cursor:
        cursor.execute(SHARING, [keys, document.corpus_id, document.pk, COMPARED])
        shared = Counter(pk for (pk,) in cursor.fetchall())
    best = [pk for pk, _count in shared.most_common(COMPARED)]
    # What is gone cannot stand for another.
    gone = (DocumentState.WITHDRAWN, DocumentState.DELETED)
    found = Document.objects.exclude(state__in=gone).in_bulk(best)
    return [found[pk] for pk in best if pk in found]


def _shingles_of(document: Document) -> set[str]:
    try:
        with blobs().open("text", document.text_digest) as file:
            return near.shingles(file.read().decode())
    except InternalError:  # its text is lost: nothing can be called a copy of it
        return {"\0"}
