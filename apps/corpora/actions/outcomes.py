"""Claims files for reading and settles each with exactly one outcome, whoever reads them.

The row is the truth: a file that another worker settled stays as it is, and so does one that
another has claimed anew because our claim ran out.
"""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce, Now

from apps.audit import actions as audit
from apps.corpora.extraction import LIMITS, Extracted, Inner, Reading
from apps.corpora.models import (
    Corpus,
    Document,
    DocumentState,
    ItemState,
    Passage,
    Right,
    Upload,
    UploadItem,
)
from apps.corpora.parsing.kinds import CONTAINERS, MEDIA, extension
from apps.corpora.passages import pieces
from calm_engine.errors import InputError
from counterpoint.celery import send
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

from apps.corpora.actions import duplicates, quota, review
from apps.corpora.actions.access import must
from apps.corpora.actions.documents import settle, text_of
from apps.corpora.actions.receiving import WAKE, refused, storable, tell, wake

ATTEMPTS = 3
LEASE = timedelta(seconds=LIMITS.wall + 180)
LOST_AFTER = timedelta(seconds=45)  # a message for a waiting file is thought lost after this
# What may come out of one file that was sent, from archives in archives; of files that are sent by
# themselves there may be any number.
WITHIN_FILES = 50_000
WITHIN_BYTES = 20 << 30


def begin(item_id: UUID | str) -> UploadItem | None:
    """Claim one waiting file for reading; None when another worker was first or it is settled."""
    waiting = UploadItem.objects.filter(pk=item_id, state=ItemState.RECEIVED)
    moved = waiting.filter(upload__paused_at__isnull=True).update(
        state=ItemState.EXTRACTING, claimed_at=Now(), attempts=F("attempts") + 1
    )
    if moved == 0:
        return None
    item = UploadItem.objects.select_related("upload__corpus", "parent", "replaces").get(pk=item_id)
    tell(item.upload_id)
    return item


def begin_next(upload_id: UUID) -> UploadItem | None:
    """Claim the next waiting file of an upload; two workers never get the same."""
    waiting = UploadItem.objects.filter(
        upload=upload_id, upload__paused_at__isnull=True, state=ItemState.RECEIVED
    )
    chosen = waiting.order_by("created_at", "pk").select_for_update(skip_locked=True).first()
    return begin(chosen.pk) if chosen else None


def call_for(upload_id: UUID) -> None:
    """Call a worker for the next waiting file of an upload."""
    waiting = UploadItem.objects.filter(upload=upload_id, state=ItemState.RECEIVED)
    wake(waiting.order_by("created_at", "pk")[:1])


def _held(item: UploadItem) -> Any:
    """The row of this claim: no row once the file is settled, put back or claimed by another."""
    return UploadItem.objects.filter(
        pk=item.pk, state=ItemState.EXTRACTING, claimed_at=item.claimed_at
    )


@transaction.atomic
def file_known(item: UploadItem) -> bool:
    """Settle a file whose very bytes the corpus already has; it need not be read again."""
    known = Document.objects.filter(
        corpus=item.upload.corpus_id, original_digest=item.digest
    ).first()
    if known is None:
        return False
    if not _held(item).select_for_update().exists():
        return True
    _settle(item, ItemState.DUPLICATE, document=known)
    _replace(item, known)
    quota.refund(item.size)
    return True


@transaction.atomic
def file_documents(item: UploadItem, found: Reading) -> None:
    """Record what one file gave: its document, its inner files, or both, all or nothing.

    Does nothing when the item was settled or claimed meanwhile by another worker.
    """
    if not _held(item).select_for_update().exists():
        return
    if found.is_container:
        _settle(item, ItemState.CONTAINER)
    for extracted in found.documents:
        document, is_new = _document(item, extracted)
        state = ItemState.STORED if is_new else ItemState.DUPLICATE
        _settle(item, state, document=document)
        _replace(item, document)
        if not is_new:
            quota.refund(item.size)
    _add_inner(item, found.inner)


def _document(item: UploadItem, extracted: Extracted) -> tuple[Document, bool]:
    text = extracted.text.encode()
    stored = blobs().put("text", io.BytesIO(text))
    document, is_new = Document.objects.get_or_create(
        corpus=item.upload.corpus,
        original_digest=item.digest,
        defaults={
            "title": extracted.title,
            "path": item.path,
            "media_type": extracted.media_type,
            "size": item.size,
            "text_digest": stored.digest,
            "tokens": -(-len(text) // 4),
            "language": extracted.language,
            "facts": extracted.facts,
            "pages": extracted.pages,
        },
    )
    if is_new:
        _cut(document, extracted.text)
        review.screen(document, extracted.text)
        duplicates.place(document, extracted.text)
        settle(document)
    return document, is_new


def _replace(item: UploadItem, document: Document) -> None:
    """Withdraw the document that this file was sent to take the place of."""
    old = item.replaces
    if old is None or old.pk == document.pk or old.is_gone:
        return
    Document.objects.filter(pk=old.pk).update(
        state=DocumentState.WITHDRAWN, withdrawn_at=Now(), replaced_by=document
    )
    if document.state == DocumentState.DUPLICATE and document.duplicate_of_id == old.pk:
        # It is nearly what it replaces: now it stands for itself.
        document.duplicate_of, document.similarity = None, None
        settle(document)
        duplicates.leave(old)
        duplicates.stand_for(document, text_of(document))
    audit.record("document.replace", old, by=item.upload.by, now=str(document.pk))


def _cut(document: Document, text: str) -> None:
    """Write a document's passages, for the search."""
    Passage.objects.bulk_create(
        [
            Passage(
                corpus_id=document.corpus_id,
                document=document,
                page=piece.page,
                start=piece.start,
                end=piece.end,
                body=text[piece.start : piece.end],
            )
            for piece in pieces(text, document.pages)
        ],
        batch_size=500,
    )


def _settle(item: UploadItem, state: ItemState, **values: object) -> None:
    """Move a claimed file to its outcome; one that is another's by now stays as it is."""
    if _held(item).update(state=state, **values):
        tell(item.upload_id)


def _add_inner(item: UploadItem, inner: list[Inner]) -> None:
    """One item for each inner file. Raises InputError("archive.bomb") where it becomes too much."""
    if not inner:
        return
    files, size = _within(item.root) if item.parent_id else (0, 0)
    if files + len(inner) > WITHIN_FILES:
        raise InputError("archive.bomb", limit=f"{WITHIN_FILES} files in all")
    if size + sum(i.file.stat().st_size for i in inner if i.file) > WITHIN_BYTES:
        raise InputError("archive.bomb", limit=f"{WITHIN_BYTES >> 30} GB in all")
    children = [_child(item, one) for one in inner]
    quota.charge(sum(child.size for child in children if child.digest), by=item.upload.by)
    UploadItem.objects.bulk_create(children)
    wake(children)


def _within(root: UploadItem) -> tuple[int, int]:
    """How many files came out of this one, at any depth, and their bytes."""
    files = size = 0
    level = UploadItem.objects.filter(parent=root).order_by()
    for _depth in range(LIMITS.depth):
        told = level.aggregate(files=Count("*"), size=Coalesce(Sum("size"), 0))
        files, size = files + told["files"], size + told["size"]
        level = UploadItem.objects.filter(parent__in=level.values("pk")).order_by()
    return files, size


def _child(item: UploadItem, inner: Inner) -> UploadItem:
    child = UploadItem(upload=item.upload, parent=item, path=storable(f"{item.path}/{inner.path}"))
    if inner.file is None:
        return refused(child, inner.code, **inner.facts)
    kind = extension(inner.path)
    child.size = inner.file.stat().st_size
    if kind in CONTAINERS and item.depth + 1 >= LIMITS.depth:
        return refused(child, "archive.nested", depth=LIMITS.depth)
    with inner.file.open("rb") as file:
        return _stored_child(child, kind, file)


def _stored_child(child: UploadItem, kind: str, file: BinaryIO) -> UploadItem:
    if kind not in MEDIA:
        return refused(child, "file.type", ending=kind or "no ending")
    if child.size == 0:
        return refused(child, "file.empty")
    child.digest = blobs().put("original", file).digest
    return child


@transaction.atomic
def reject(item: UploadItem, code: str, **facts: object) -> None:
    """Settle one file as refused, with the code and facts that its sentence is made from."""
    _settle(item, ItemState.REJECTED, code=code, facts=facts)


@transaction.atomic
def put_back(item: UploadItem) -> None:
    """Let another reader try a file whose own was ended from outside, `ATTEMPTS` times at most."""
    if item.attempts >= ATTEMPTS:
        reject(item, "extract.failed", attempts=ATTEMPTS)
        return
    _settle(item, ItemState.RECEIVED)
    wake(UploadItem.objects.filter(pk=item.pk))


def retriable(upload: Upload) -> Any:
    """The rejected files whose bytes we have: only those can be read once more."""
    return upload.items.filter(state=ItemState.REJECTED).exclude(digest="")


@transaction.atomic
def retry(upload: Upload, *, by: User) -> int:
    """Read the rejected files of an upload once more; finished ones are left alone."""
    must(upload.corpus, by, Right.CURATE)
    count = _read_again(retriable(upload))
    if count:
        audit.record("upload.retry", upload, by=by, files=count)
    return count


def scans(corpus: Corpus) -> Any:
    """Files of a corpus that are pictures of pages: a worker that recognises text can read them."""
    rows = UploadItem.objects.filter(upload__corpus=corpus, state=ItemState.REJECTED)
    return rows.filter(code="pdf.no_text").exclude(digest="")


@transaction.atomic
def retry_scans(corpus: Corpus, *, by: User) -> int:
    """Read every scanned PDF of a corpus once more, whichever upload brought it; how many."""
    must(corpus, by, Right.CURATE)
    count = _read_again(scans(corpus))
    if count:
        audit.record("corpus.retry_scans", corpus, by=by, files=count)
    return count


def _read_again(rejected: Any) -> int:
    again = list(rejected.select_for_update(of=("self",)))
    for item in again:
        item.state, item.code, item.facts, item.attempts = ItemState.RECEIVED, "", {}, 0
    UploadItem.objects.bulk_update(again, ["state", "code", "facts", "attempts"], batch_size=1000)
    wake(again)
    for upload in {item.upload_id for item in again}:
        tell(upload)
    return len(again)


@transaction.atomic
def pause(upload: Upload, *, by: User) -> None:
    """Let workers take no more files of this upload; those being read are finished."""
    must(upload.corpus, by, Right.CURATE)
    if Upload.objects.filter(pk=upload.pk, paused_at__isnull=True).update(paused_at=Now()):
        audit.record("upload.pause", upload, by=by)
        tell(upload.pk)


@transaction.atomic
def resume(upload: Upload, *, by: User) -> None:
    """Let workers go on with a paused upload."""
    must(upload.corpus, by, Right.CURATE)
    if Upload.objects.filter(pk=upload.pk, paused_at__isnull=False).update(paused_at=None):
        audit.record("upload.resume", upload, by=by)
        wake(upload.items.filter(state=ItemState.RECEIVED)[:WAKE])
        tell(upload.pk)


@transaction.atomic
def cancel_rest(upload: Upload, *, by: User) -> int:
    """Refuse the files that nobody has begun to read; `retry` brings them back."""
    must(upload.corpus, by, Right.CURATE)
    waiting = upload.items.filter(state=ItemState.RECEIVED)
    count: int = waiting.update(state=ItemState.REJECTED, code="upload.cancelled", facts={})
    if count:
        audit.record("upload.cancel", upload, by=by, files=count)
        tell(upload.pk)
    return count


@transaction.atomic
def reconcile() -> int:
    """Pick up this tenant's files that were left behind: workers killed, messages lost.

    Returns how many files were put back or woken. Runs under the tenant's scope.
    """
    expired = UploadItem.objects.filter(state=ItemState.EXTRACTING, claimed_at__lt=Now() - LEASE)
    given_up = expired.filter(attempts__gte=ATTEMPTS).update(
        state=ItemState.REJECTED, code="extract.failed", facts={"attempts": ATTEMPTS}
    )
    put_back = expired.filter(attempts__lt=ATTEMPTS).update(state=ItemState.RECEIVED)
    waiting = UploadItem.objects.filter(
        Q(claimed_at__isnull=False) | Q(created_at__lt=Now() - LOST_AFTER),
        state=ItemState.RECEIVED,
        upload__paused_at__isnull=True,
    )
    wake(waiting.order_by("created_at")[:WAKE])
    for corpus in Corpus.objects.all():
        if review.behind(corpus).exists():
            send("ingestion.screen", str(corpus.tenant_id), str(corpus.pk))
    return given_up + put_back
