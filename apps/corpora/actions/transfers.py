"""Files that come in pieces: begun, gone on with, finished or given up. Knows no HTTP.

The row's position is what counts: bytes behind it in the file are the rest of a piece that broke
off, and are cut away before the next one is written.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from apps.audit import actions as audit
from apps.corpora.actions import quota
from apps.corpora.actions.access import must
from apps.corpora.actions.receiving import delivery_of, judged, keep, refused, tell
from apps.corpora.models import Corpus, Right, Transfer, Upload, UploadItem
from calm_engine.errors import InputError, InternalError
from counterpoint.storage import blobs, disk_full_is_told, require_space, tenant_in_scope

if TYPE_CHECKING:
    from apps.accounts.models import User

KEPT = timedelta(days=7)  # after the last piece; then the file counts as not arrived
PIECE = 1 << 20  # bytes read at a time


@transaction.atomic
def begin_transfer(
    corpus: Corpus, path: str, length: int, *, by: User, upload: UUID | None = None
) -> Transfer | UploadItem:
    """Open the way for one file of `length` bytes, or record at once why it cannot be taken."""
    must(corpus, by, Right.CURATE)
    delivery = delivery_of(corpus, upload, by, "page")
    item = judged(path, length, _room())
    if not item.code:
        try:
            require_space(_folder(), length)
        except InputError:
            refused(item, "upload.disk_full")
    if item.code:
        keep(delivery, [item])
        return item
    tell(delivery.pk)
    return Transfer.objects.create(
        upload=delivery, by=by, path=item.path, length=length, expires_at=Now() + KEPT
    )


def _room() -> int | None:
    """Bytes that the quota leaves once every file on its way has arrived."""
    left = quota.room()
    if left is None:
        return None
    coming = sum(Transfer.objects.values_list("length", flat=True))
    return max(0, left - coming)


@transaction.atomic
def go_on(code: UUID, position: int, body: BinaryIO, *, by: User) -> Transfer | UploadItem:
    """Write one piece at `position`; the file's item once it is whole.

    Raises Transfer.DoesNotExist, InputError: transfer.position (`at` is the right one),
    transfer.length, transfer.busy, disk.full. Nothing of a refused piece is kept.
    """
    mine = Transfer.objects.visible_to(by).select_related("upload__corpus")
    if not mine.filter(pk=code).exists():
        raise Transfer.DoesNotExist
    # Locked for one writer; a second one is told so instead of waiting for the first.
    row = mine.select_for_update(skip_locked=True, of=("self",)).filter(pk=code).first()
    if row is None:
        raise InputError("transfer.busy")
    if position != row.position:
        raise InputError("transfer.position", at=row.position)
    row.position = _write(row, body)
    if row.position < row.length:
        row.expires_at = Now() + KEPT
        row.save(update_fields=["position", "expires_at"])
        return row
    return _arrived(row)


def _write(row: Transfer, body: BinaryIO) -> int:
    """Append the piece behind what is safe already and flush it; how many bytes are safe now."""
    path = part(row)
    with disk_full_is_told(path.parent), path.open("r+b" if path.exists() else "xb") as file:
        if os.fstat(file.fileno()).st_size < row.position:  # the disk lost what the row promised
            raise InternalError("transfer.lost", "Bytes of a transfer are gone.", at=row.position)
        file.truncate(row.position)
        file.seek(row.position)
        at = row.position
        while piece := body.read(PIECE):
            at += len(piece)
            if at > row.length:
                file.truncate(row.position)
                raise InputError("transfer.length", length=row.length)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o600)
    return at


def _arrived(row: Transfer) -> UploadItem:
    """The last byte came: keep the file like any other, in the same transaction."""
    item = judged(row.path, row.length, None)
    path = part(row)
    try:
        with path.open("rb") as file:
            item.digest = blobs().put("original", file).digest
    except InputError as error:
        if error.code != "disk.full":
            raise
        refused(item, "upload.disk_full")
    keep(row.upload, [item])
    audit.record("upload.receive", row.upload, by=row.by, files=1, rejected=int(bool(item.code)))
    row.delete()
    transaction.on_commit(lambda: path.unlink(missing_ok=True))
    return item


@transaction.atomic
def give_up(row: Transfer, *, by: User) -> None:
    """End a transfer at its sender's wish: the file was never received."""
    must(row.upload.corpus, by, Right.CURATE)
    path = part(row)
    tell(row.upload_id)
    row.delete()
    transaction.on_commit(lambda: path.unlink(missing_ok=True))


@transaction.atomic
def expire_transfers() -> int:
    """Close what nobody went on with for a week: each is an outcome with its reason.

    Runs under the tenant's scope. Returns how many were closed.
    """
    late = list(
        Transfer.objects.filter(expires_at__lt=Now())
        .select_for_update(skip_locked=True)
        .select_related("upload")
    )
    for row in late:
        item = refused(UploadItem(path=row.path, size=row.length), "upload.unfinished")
        keep(row.upload, [item])
        part(row).unlink(missing_ok=True)
        row.delete()
    return len(late)


def files_of(upload: Upload) -> list[list[object]]:
    """[path, size] of each file that came from outside: what a sender need not send again."""
    came = upload.items.filter(parent__isnull=True)
    return [list(row) for row in came.values_list("path", "size")]


def part(row: Transfer) -> Path:
    """Where the bytes of a transfer lie until it is whole."""
    return _folder() / row.pk.hex


def _folder() -> Path:
    folder: Path = settings.HOME / "transfers" / str(tenant_in_scope())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
