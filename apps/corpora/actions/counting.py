"""Counts a snapshot's texts by the tokenizers of anchors, some documents at a time.

Whoever calls brings the tokenizers: anchors are no matter of corpora. A count that was broken off
goes on where its row says; of two that count at once the slower one's piece is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from uuid import UUID

from django.db import transaction
from django.db.models import F

from apps.corpora import manifests
from apps.corpora.models import Snapshot, TokenCount
from counterpoint.storage import blobs

AT_ONCE = 500  # documents counted for one row's move

Count = Callable[[list[str]], int]  # texts -> tokens of all of them


@transaction.atomic
def begin_counts(snapshot: Snapshot, tokenizers: Iterable[tuple[str, str]]) -> None:
    """One row for each tokenizer, (digest, name), that has none yet."""
    TokenCount.objects.bulk_create(
        [TokenCount(snapshot=snapshot, tokenizer=digest, name=name) for digest, name in tokenizers],
        ignore_conflicts=True,
    )


def count_some(snapshot_id: UUID | str, tokenizer: str, count: Count) -> bool:
    """Count the next documents of a snapshot by one tokenizer; False when all are counted."""
    row = TokenCount.objects.select_related("snapshot").get(
        snapshot=snapshot_id, tokenizer=tokenizer
    )
    entries = manifests.entries(row.snapshot)
    texts = []
    for entry in islice(entries, row.position, row.position + AT_ONCE):
        with blobs().open("text", entry.training) as file:
            texts.append(file.read().decode())
    if not texts:
        return False
    TokenCount.objects.filter(pk=row.pk, position=row.position).update(
        position=F("position") + len(texts), tokens=F("tokens") + count(texts)
    )
    return True
