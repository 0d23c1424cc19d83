"""Deletes withdrawn documents for good: by a person, or by a corpus's rule once its days are over.

A legal hold beats both. What a snapshot names cannot go this way: models may have learned it, and
only a plan to forget knows which. The row stays without name or words, for the upload's equation.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from apps.audit import actions as audit
from apps.audit import holds
from apps.corpora import manifests
from apps.corpora.actions import quota
from apps.corpora.actions.access import must
from apps.corpora.actions.documents import locked
from apps.corpora.models import (
    Corpus,
    Document,
    DocumentState,
    Flag,
    NearKey,
    Passage,
    Right,
    Snapshot,
    UploadItem,
)
from calm_engine.errors import InputError
from counterpoint.storage import Blobs, blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

NAMELESS = "forgotten"
FILES = {"original": ("original_digest",), "text": ("text_digest", "redacted_digest")}
AT_ONCE = 200  # documents whose days are over, of one corpus at a time


@transaction.atomic
def delete(document: Document, *, by: User) -> None:
    """Delete a withdrawn document: its original, texts, passages and name.

    Raises InputError: "hold.stands", "document.standing" when it was not withdrawn,
    "document.learned" when a snapshot names it.
    """
    must(document.corpus, by, Right.CURATE)
    holds.require_free(holds.Kind.CORPUS, document.corpus_id)
    now = locked(document)
    if now.state == DocumentState.DELETED:
        return
    if now.state != DocumentState.WITHDRAWN:
        raise InputError("document.standing")
    if named := snapshots_with(now):
        raise InputError("document.learned", snapshots=len(named))
    _delete([now])
    audit.record("document.delete", now, by=by, original=document.original_digest)
    document.refresh_from_db()


def snapshots_with(document: Document) -> list[Snapshot]:
    """The snapshots that hold this document."""
    original = {document.original_digest}
    rows = Snapshot.objects.touching([document.corpus_id])
    return [each for each in rows if manifests.names_any(each, original)]


@transaction.atomic
def delete_lapsed() -> int:
    """Delete what was withdrawn longer ago than its corpus keeps it; how many. In a tenant's scope.

    What a snapshot names stays, and what a legal hold keeps.
    """
    count = 0
    held = holds.held(holds.Kind.CORPUS).values_list("subject", flat=True)
    for corpus in Corpus.objects.filter(withdrawn_days__gt=0).exclude(pk__in=list(held)):
        over = Now() - timedelta(days=corpus.withdrawn_days)
        rows = corpus.documents.filter(state=DocumentState.WITHDRAWN, withdrawn_at__lt=over)
        some = list(rows.order_by("withdrawn_at").select_for_update(skip_locked=True)[:AT_ONCE])
        going = [each for each in some if not snapshots_with(each)]
        if going:
            _delete(going)
        if going or not audit.is_proved_today("document.lapse", corpus):
            audit.record("document.lapse", corpus, by=None, documents=len(going))
        count += len(going)
    return count


@transaction.atomic
def set_withdrawn_days(corpus: Corpus, days: int, *, by: User) -> None:
    """Say after how many days a withdrawn document is deleted; 0: never by itself."""
    must(corpus, by, Right.CURATE)
    if Corpus.objects.filter(pk=corpus.pk).exclude(withdrawn_days=days).update(withdrawn_days=days):
        audit.record("corpus.withdrawn_days", corpus, by=by, days=days)


def _delete(documents: list[Document]) -> None:
    rows = Document.objects.filter(pk__in=[each.pk for each in documents])
    gone = only_theirs(rows)
    drop_words(rows)
    UploadItem.objects.filter(document__in=rows).update(digest="")
    for each in documents:
        # The same bytes may come again, as another document.
        empty = hashlib.sha256(f"deleted {each.pk}".encode()).hexdigest()
        Document.objects.filter(pk=each.pk).update(
            state=DocumentState.DELETED,
            original_digest=empty,
            text_digest=empty,
            redacted_digest="",
            duplicate_of=None,
            similarity=None,
            size=0,
            tokens=0,
        )
    quota.refund(sum(each.size for each in documents))
    transaction.on_commit(partial(_delete_files, blobs(), gone))


def _delete_files(ours: Blobs, gone: dict[str, list[str]]) -> None:
    for kind, digests in gone.items():
        for digest in digests:
            ours.delete(kind, digest)


# --- what the plans to forget do as well ----------------------------------------------------------


def drop_words(going: QuerySet[Document]) -> dict[str, int]:
    """Delete what rows say of documents; what stands for them stays, without a name."""
    chosen = list(going.values_list("pk", flat=True))
    gone = {}
    for model in (Passage, NearKey, Flag):
        gone[str(model._meta.model_name)] = model.objects.filter(document__in=chosen).delete()[0]
    UploadItem.objects.filter(document__in=chosen).update(path=NAMELESS)
    names = {"title": NAMELESS, "path": NAMELESS, "facts": {}, "found": {}, "pages": []}
    gone["document"] = Document.objects.filter(pk__in=chosen).update(**names)
    return gone


def only_theirs(going: QuerySet[Document]) -> dict[str, list[str]]:
    """Files of these documents that no other document, and no file still to be read, names."""
    chosen = list(going.values_list("pk", flat=True))
    staying = Document.objects.exclude(pk__in=chosen)
    found: dict[str, list[str]] = {}
    for kind, columns in FILES.items():
        rows = Document.objects.filter(pk__in=chosen).values_list(*columns)
        wanted = {each for row in rows for each in row if each}
        kept = {each for row in _named_by(staying, wanted, columns) for each in row}
        if kind == "original":
            waiting = UploadItem.objects.in_progress().filter(digest__in=wanted)
            kept.update(waiting.values_list("digest", flat=True))
        found[kind] = sorted(wanted - kept)
    return found


def _named_by(documents: Any, digests: set[str], columns: tuple[str, ...]) -> Any:
    """Digests in these columns of the documents that name one of them in any."""
    names_one = Q()
    for column in columns:
        names_one |= Q(**{f"{column}__in": digests})
    return documents.filter(names_one).values_list(*columns)
