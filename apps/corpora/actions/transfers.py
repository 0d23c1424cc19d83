"""Files that come in pieces: begun, gone on with, finished or given up. Knows no HTTP.

The row's position is what counts: each piece is a sealed file of its own, and one that stands
behind the position broke off, and is written over by the next.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
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
from counterpoint import sealedfiles
from counterpoint.disk import require_space, settle, writing_aside
from counterpoint.storage import blobs, tenant_in_scope

if TYPE_CHECKING:
    from apps.accounts.models import User

KEPT = timedelta(days=7)  # after the last piece; then the file counts as not arrived
PIECE = 1 << 20  # bytes read at a time
KIND = "transfer"  # what a piece is sealed as


@transaction.atomic
def begin_transfer(
    corpus: Corpus, path: str, length: int, *, by: User, upload: UUID | None = None
) -> Transfer | UploadItem:
    """Open the way for one file of `length` bytes, or record at once why it cannot be taken."""
    must(corpus, by, Right.CURATE)
    delivery = delivery_of(corpus, upload, by, "page")
    item = judged(path, length, _room(by))
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


def _room(by: User) -> quota.Room | None:
    """What limits leave once every file on its way has arrived."""
    left = quota.room(by)
    if left is None:
        return None
    return left.less(sum(Transfer.objects.values_list("length", flat=True)))


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
    """Seal the piece as a file of its own, named by where it begins; how many bytes are safe now.

    What a piece that broke off left under that name is written over.
    """
    folder = part(row)
    _take_over(row, folder)
    folder.mkdir(exist_ok=True, mode=0o700)
    with writing_aside(folder) as (target, aside):
        within = _within(body, row.length - row.position, row.length)
        name = _name(row, row.position)
        _digest, size = sealedfiles.write(target, within, kind=KIND, name=name)
        settle(target)
        if size:
            aside.rename(folder / str(row.position))
    return row.position + size


def _within(body: BinaryIO, room: int, length: int) -> Iterator[bytes]:
    """The bytes of a piece. Raises InputError("transfer.length") behind the end of the file."""
    while piece := body.read(PIECE):
        room -= len(piece)
        if room < 0:
            raise InputError("transfer.length", length=length)
        yield piece


def _take_over(row: Transfer, folder: Path) -> None:
    """A transfer that an older release began is one plain file: its safe bytes are a piece."""
    if not folder.is_file():
        return
    left = folder.rename(folder.with_suffix(".plain"))
    folder.mkdir(mode=0o700)
    with left.open("rb") as file, writing_aside(folder) as (target, aside):
        safe = iter([file.read(row.position)])
        sealedfiles.write(target, safe, kind=KIND, name=_name(row, 0))
        settle(target)
        aside.rename(folder / "0")
    left.unlink()


def _name(row: Transfer, start: int) -> str:
    return f"{row.pk.hex}/{start}"


@dataclass(frozen=True)
class Pieces:
    """The pieces of a transfer as one file. Knows no position but those that their sizes give."""

    row: Transfer

    @property
    def size(self) -> int:
        return self.row.length

    def chunks(self) -> Iterator[bytes]:
        """Raises InternalError: "transfer.lost" when a piece is gone, "blob.damaged"."""
        at, folder = 0, part(self.row)
        while at < self.row.length:
            path = folder / str(at)
            if not path.exists():  # the disk lost what the row promised
                raise InternalError("transfer.lost", "Bytes of a transfer are gone.", at=at)
            with sealedfiles.opened(path, kind=KIND, name=_name(self.row, at)) as file:
                while piece := file.read(PIECE):
                    at += len(piece)
                    yield piece


def _arrived(row: Transfer) -> UploadItem:
    """The last byte came: keep the file like any other, in the same transaction."""
    item = judged(row.path, row.length, None)
    try:
        item.digest = blobs().put("original", Pieces(row)).digest
    except InputError as error:
        if error.code != "disk.full":
            raise
        refused(item, "upload.disk_full")
    keep(row.upload, [item])
    audit.record("upload.receive", row.upload, by=row.by, files=1, rejected=int(bool(item.code)))
    drop(row)
    return item


@transaction.atomic
def give_up(row: Transfer, *, by: User) -> None:
    """End a transfer at its sender's wish: the file was never received."""
    must(row.upload.corpus, by, Right.CURATE)
    tell(row.upload_id)
    drop(row)


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
        drop(row)
    return len(late)


def files_of(upload: Upload) -> list[list[object]]:
    """[path, size] of each file that came from outside: what a sender need not send again."""
    came = upload.items.filter(parent__isnull=True)
    return [list(row) for row in came.values_list("path", "size")]


def drop(row: Transfer) -> None:
    """Delete a transfer, and its bytes once that is committed."""
    path = part(row)
    row.delete()
    transaction.on_commit(lambda: shutil.rmtree(path, ignore_errors=True))


def part(row: Transfer) -> Path:
    """The folder where the sealed pieces of a transfer lie until it is whole."""
    return _folder() / row.pk.hex


def _folder() -> Path:
    folder: Path = settings.HOME / "transfers" / str(tenant_in_scope())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
