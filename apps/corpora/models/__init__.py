"""Corpora, what was delivered into them, the documents that came of it, and frozen snapshots."""

from __future__ import annotations

from apps.corpora.models.corpus import (
    Corpus,
    CorpusGrant,
    CorpusQuerySet,
    OfCorpusQuerySet,
    Right,
    Sensitivity,
)
from apps.corpora.models.documents import (
    Document,
    DocumentQuerySet,
    DocumentState,
    Example,
    ExampleQuerySet,
)
from apps.corpora.models.snapshots import Snapshot
from apps.corpora.models.transfers import StorageUse, Transfer, TransferQuerySet
from apps.corpora.models.uploads import (
    IN_PROGRESS,
    ItemQuerySet,
    ItemState,
    Tally,
    Upload,
    UploadItem,
)

__all__ = [
    "IN_PROGRESS",
    "Corpus",
    "CorpusGrant",
    "CorpusQuerySet",
    "Document",
    "DocumentQuerySet",
    "DocumentState",
    "Example",
    "ExampleQuerySet",
    "ItemQuerySet",
    "ItemState",
    "OfCorpusQuerySet",
    "Right",
    "Sensitivity",
    "Snapshot",
    "StorageUse",
    "Tally",
    "Transfer",
    "TransferQuerySet",
    "Upload",
    "UploadItem",
]
