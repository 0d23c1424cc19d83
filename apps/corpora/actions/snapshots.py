"""Freezes a corpus as an immutable manifest of digests, and tells what the next would change."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.audit import actions as audit
from apps.corpora.models import (
    Corpus,
    Document,
    DocumentState,
    Right,
    Snapshot,
    UploadItem,
)
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User

from apps.corpora.actions.access import must
from apps.corpora.actions.splits import Split, slices_of, split_of


def freeze(corpus: Corpus, *, split: Split | None = None, note: str = "", by: User) -> Snapshot:
    """Fix the corpus's ready documents and examples as a snapshot named by its digest.

    What an earlier snapshot held out stays held out, so that scores can be compared. Freezing an
    unchanged corpus gives the snapshot that is already there. Raises InputError: corpus.empty,
    upload.in_progress.
    """
    must(corpus, by, Right.CURATE)
    with transaction.atomic():
        # Two people freezing at once would both read the earlier split; the second waits here.
        Corpus.objects.select_for_update().get(pk=corpus.pk)
        waiting = UploadItem.objects.in_progress().filter(upload__corpus=corpus).count()
        if waiting:
            raise InputError("upload.in_progress", files=waiting)
        documents = list(corpus.documents.ready().order_by("original_digest"))
        if not documents:
            raise InputError("corpus.empty", corpus=corpus.name)
        manifest = _manifest(corpus, documents, split)
        snapshot, is_new = Snapshot.objects.get_or_create(
            corpus=corpus,
            digest=_digest(manifest),
            defaults={
                "manifest": manifest,
                "documents": len(documents),
                "tokens": sum(document.tokens for document in documents),
                "note": note,
                "frozen_by": by,
            },
        )
        if is_new:
            audit.record("snapshot.freeze", snapshot, by=by, documents=len(documents))
    return snapshot


def _manifest(corpus: Corpus, documents: list[Document], split: Split | None) -> dict[str, Any]:
    split = split or split_of(corpus)
    slices = slices_of(corpus, split)
    return {
        "documents": [[d.original_digest, d.text_digest, d.title] for d in documents],
        "examples": sorted([digest, where] for digest, where in slices.items()),
        "split": vars(split),
    }


def _digest(manifest: dict[str, Any]) -> str:
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Changes:
    """What the next snapshot would change against the latest one."""

    added: int
    removed: int
    kept: int
    excluded: int
    examples_added: int
    examples_removed: int
    waiting: int
    first: bool

    @property
    def any(self) -> bool:
        return bool(self.added or self.removed or self.examples_added or self.examples_removed)


def changes(corpus: Corpus) -> Changes:
    """Compare the corpus as it stands with its latest snapshot."""
    latest = corpus.snapshots.order_by("-created_at").first()
    manifest = latest.manifest if latest else {"documents": [], "examples": []}
    before = {(digest, text) for digest, text, _title in manifest["documents"]}
    now = set(corpus.documents.ready().values_list("original_digest", "text_digest"))
    asked = {digest for digest, _slice in manifest["examples"]}
    asked_now = set(corpus.examples.ready().values_list("digest", flat=True))
    return Changes(
        added=len(now - before),
        removed=len(before - now),
        kept=len(now & before),
        excluded=corpus.documents.filter(state=DocumentState.EXCLUDED).count(),
        examples_added=len(asked_now - asked),
        examples_removed=len(asked - asked_now),
        waiting=UploadItem.objects.in_progress().filter(upload__corpus=corpus).count(),
        first=latest is None,
    )
