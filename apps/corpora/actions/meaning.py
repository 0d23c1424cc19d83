"""Keeps a vector beside each passage, as the tenant's embedder reads it. Asks no model itself."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q

from apps.corpora.models import Passage

AT_ONCE = 64  # passages read in one request


def unread_passages(embedder: str) -> list[Passage]:
    """Some passages that this embedder has not read yet, or that another one read before.

    embedder   its digest
    """
    # Two ranges of the index; "not equal" would look through every passage of the tenant.
    others = Q(embedded_by__lt=embedder) | Q(embedded_by__gt=embedder)
    rows = Passage.objects.filter(others).only("pk", "body").order_by()
    return list(rows[:AT_ONCE])


def keep_vectors(read: Sequence[tuple[UUID, Sequence[float]]], embedder: str) -> None:
    """Write what the embedder made of these passages; one that is gone meanwhile stays gone."""
    made = [
        Passage(pk=passage, vector=list(vector), embedded_by=embedder) for passage, vector in read
    ]
    Passage.objects.bulk_update(made, ["vector", "embedded_by"])
