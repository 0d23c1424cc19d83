"""Corpora, what was delivered into them, the documents that came of it, and frozen snapshots."""

from __future__ import annotations

from apps.corpora.models.connections import Connection, SourceFile
from apps.corpora.models.corpus import (
    Corpus,
    CorpusGrant,
    CorpusQuerySet,
    OfCorpusQuerySet,
    Policy,
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
from apps.corpora.models.passages import Passage
from apps.corpora.models.repeats import Repeat
from apps.corpora.models.screening import Flag, FlagState, NearKey
from apps.corpora.models.snapshots import (
    Freezing,
    FreezingState,
    OfCorporaQuerySet,
    Snapshot,
    TokenCount,
)
from apps.corpora.models.transfers import StorageUse, Transfer, TransferQuerySet
from apps.corpora.models.uploads import (
    IN_PROGRESS,
    ItemQuerySet,
    ItemState,
    Tally,
    Upload,
    UploadItem,
    tallies,
)

__all__ = [
    "IN_PROGRESS",
    "Connection",
    "Corpus",
    "CorpusGrant",
    "CorpusQuerySet",
    "Document",
    "DocumentQuerySet",
    "DocumentState",
    "Example",
    "ExampleQuerySet",
    "Flag",
    "FlagState",
    "Freezing",
    "FreezingState",
    "ItemQuerySet",
    "ItemState",
    "NearKey",
    "OfCorporaQuerySet",
    "OfCorpusQuerySet",
    "Passage",
    "Policy",
    "Repeat",
    "Right",
    "Sensitivity",
    "Snapshot",
    "SourceFile",
    "StorageUse",
    "Tally",
    "TokenCount",
    "Transfer",
    "TransferQuerySet",
    "Upload",
    "UploadItem",
    "tallies",
]
