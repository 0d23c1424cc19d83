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
from django.utils.translation import gettext

from apps.audit import actions as audit
from apps.corpora.models import (
    Corpus,
    Document,
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

from apps.corpora.actions import quota
from apps.corpora.actions.access import must

PATH = 1000  # characters of a path that are kept, from its end
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
    replaces: Iterable[Document | None] = (),
) -> Upload:
    """Store files and record one item for each, whatever became of it; reading starts on commit.

    paths    where the files stood in a folder; names are used for those without one
    replaces  for each file the document that is withdrawn once this one is stored in its place
    upload   id of the delivery that these files belong to; it is opened when it does not exist yet

    A file that cannot be stored (too large, wrong type, disk full) is recorded as rejected and
    costs the others nothing.
    """
    must(corpus, by, Right.CURATE)
    named, olds = list(paths), list(replaces)
    left = quota.room(by)
    taken = []
    for index, file in enumerate(files):
        item = _taken(file, named[index] if index < len(named) else "", left)
        left = left.less(item.size) if left is not None and item.digest else left
        item.replaces = olds[index] if index < len(olds) else None
        taken.append(item)
    with transaction.atomic():
        delivery = delivery_of(corpus, upload, by, source)
        keep(delivery, taken)
        rejected = sum(item.state == ItemState.REJECTED for item in taken)
        audit.record("upload.receive", delivery, by=by, files=len(taken), rejected=rejected)
    return delivery


def keep(delivery: Upload, items: list[UploadItem]) -> None:
    """Write the rows of files whose bytes are stored, charge for them, and call the workers."""
    for item in items:
        item.upload = delivery
    stored = [item for item in items if item.digest]
    try:
        quota.charge(sum(item.size for item in stored), by=delivery.by)
    except InputError as error:  # another upload took the room that was there a moment ago
        for item in stored:
            refused(item, error.code, **error.facts).digest = ""
    waiting = delivery.items.filter(state=ItemState.RECEIVED)[:WAKE].count()
    UploadItem.objects.bulk_create(items)
    if delivery.paused_at is None:
        wake(items, behind=waiting)
    tell(delivery.pk)


def delivery_of(corpus: Corpus, code: UUID | None, by: User, source: str) -> Upload:
    """The delivery of this id, opened when it is not there yet. Raises PermissionDenied."""
    if code is None:
        return Upload.objects.create(corpus=corpus, by=by, source=source)
    found, _ = Upload.objects.get_or_create(
        pk=code, defaults={"corpus": corpus, "by": by, "source": source}
    )
    if found.corpus_id != corpus.pk or found.by_id != by.pk:
        words = gettext("This upload was begun by someone else, or for another corpus.")
        raise PermissionDenied(words)
    return found


def _taken(file: IncomingFile, path: str, room: quota.Room | None) -> UploadItem:
    """Store one file's bytes and describe it; a refusal is a description too."""
    item = judged(path or file.name or "file", file.size or 0, room)
    if item.code:
        return item
    try:
        item.digest = blobs().put("original", file).digest
    except InputError as error:
        if error.code == "source.unreachable":
            return refused(item, error.code, **error.facts)
        if error.code != "disk.full":
            raise
        return refused(item, "upload.disk_full")
    return item


def judged(told: str, size: int, room: quota.Room | None) -> UploadItem:
    """What is known of a file before its bytes: its row, refused already when it cannot be taken.

    room  what limits leave, None without any
    """
    safe = safe_path(told)
    item = UploadItem(path=storable(safe or told), size=size)
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
    if room is not None and size > room.left:
        error = room.refusal(size)
        return refused(item, error.code, **error.facts)
    return item


def storable(path: str) -> str:
    """A path as the database can hold it: no NUL, no half characters, its last 1000 characters."""
    whole = path.encode("utf-8", errors="replace").decode()
    return whole.replace("\0", "\ufffd")[-PATH:]


def refused(item: UploadItem, code: str, **facts: object) -> UploadItem:
    item.state, item.code, item.facts = ItemState.REJECTED, code, facts
    return item


def wake(items: Iterable[UploadItem], *, behind: int = 0) -> None:
    """Call workers for the first waiting files; `send` waits for the commit.

    behind  so many of the same upload wait already, workers are on their way to them: of a
            hundred thousand files that come twenty at a time, few need a call of their own
    """
    waiting = [item for item in items if item.state == ItemState.RECEIVED]
    for item in waiting[: max(1, WAKE - behind)]:
        send("ingestion.extract", str(item.tenant_id), str(item.pk))


def tell(upload_id: UUID) -> None:
    """Let open pages know that this upload changed, once the change can be seen."""
    transaction.on_commit(lambda: live.publish(f"upload:{upload_id}", {"changed": "items"}))
