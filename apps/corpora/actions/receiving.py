"""Takes files in: each is stored and has its row before anybody hears that it arrived.

Knows nothing of reading: a message calls the workers once the rows are committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction

from apps.audit import actions as audit
from apps.corpora.models import (
    Corpus,
    ItemState,
    Right,
    Upload,
    UploadItem,
)
from apps.corpora.parsing.kinds import MEDIA, extension, safe_path
from calm_engine.errors import InputError
from counterpoint import live
from counterpoint.celery import send
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

from apps.corpora.actions.access import must

WAKE = 16  # messages sent for one upload: each worker goes on to the next file by itself


class IncomingFile(Protocol):
    """What a web framework or a script hands us: a name, a size and bytes in pieces."""

    @property
    def name(self) -> str | None: ...
    @property
    def size(self) -> int | None: ...
    def chunks(self) -> Iterator[bytes]: ...


def receive(
    corpus: Corpus,
    files: Iterable[IncomingFile],
    *,
    by: User,
    paths: Iterable[str] = (),
    upload: UUID | None = None,
    source: str = "page",
) -> Upload:
    """Store files and record one item for each, whatever became of it; reading starts on commit.

    paths    where the files stood in a folder; names are used for those without one
    upload   id of the delivery that these files belong to; it is opened when it does not exist yet

    A file that cannot be stored (too large, wrong type, disk full) is recorded as rejected and
    costs the others nothing.
    """
    must(corpus, by, Right.CURATE)
    named = list(paths)
    taken = [
        _taken(file, named[index] if index < len(named) else "") for index, file in enumerate(files)
    ]
    with transaction.atomic():
        delivery = _delivery(corpus, upload, by, source)
        for item in taken:
            item.upload = delivery
        UploadItem.objects.bulk_create(taken)
        rejected = sum(item.state == ItemState.REJECTED for item in taken)
        audit.record("upload.receive", delivery, by=by, files=len(taken), rejected=rejected)
        wake(taken)
        tell(delivery.pk)
    return delivery


def _delivery(corpus: Corpus, code: UUID | None, by: User, source: str) -> Upload:
    if code is None:
        return Upload.objects.create(corpus=corpus, by=by, source=source)
    found, _ = Upload.objects.get_or_create(
        pk=code, defaults={"corpus": corpus, "by": by, "source": source}
    )
    if found.corpus_id != corpus.pk or found.by_id != by.pk:
        raise PermissionDenied("This upload was begun by someone else, or for another corpus.")
    return found


def _taken(file: IncomingFile, path: str) -> UploadItem:
    """Store one file's bytes and describe it; a refusal is a description too."""
    told = path or file.name or "file"
    safe = safe_path(told)
    item = UploadItem(path=(safe or told)[-1000:], size=file.size or 0)
    if safe is None:
        return refused(item, "file.path")
    kind = extension(safe)
    if kind not in MEDIA:
        return refused(item, "file.type", ending=kind or "no ending")
    if item.size == 0:
        return refused(item, "file.empty")
    limit = settings.UPLOAD_MAX_BYTES
    if item.size > limit:
        sizes = {"size": f"{item.size >> 20} MB", "limit": f"{limit >> 20} MB"}
        return refused(item, "file.too_large", **sizes)
    try:
        item.digest = blobs().put("original", file).digest
    except InputError as error:
        if error.code != "disk.full":
            raise
        return refused(item, "upload.disk_full")
    return item


def refused(item: UploadItem, code: str, **facts: object) -> UploadItem:
    item.state, item.code, item.facts = ItemState.REJECTED, code, facts
    return item


def wake(items: Iterable[UploadItem]) -> None:
    """Call workers for the first waiting files; `send` waits for the commit."""
    waiting = [item for item in items if item.state == ItemState.RECEIVED]
    for item in waiting[:WAKE]:
        send("ingestion.extract", str(item.tenant_id), str(item.pk))


def tell(upload_id: UUID) -> None:
    """Let open pages know that this upload changed, once the change can be seen."""
    transaction.on_commit(lambda: live.publish(f"upload:{upload_id}", {"changed": "items"}))
