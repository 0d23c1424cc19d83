"""Private files named by their digest: `{home}/blobs/{tenant}/{kind}/{sha256}`.

Written aside, flushed to disk, then renamed: a name that exists is whole. The same bytes twice are
one file. What quotes documents is sealed under the tenant's key (`counterpoint.sealedfiles`), and
still named by its plain bytes; weights lie as they are, since they are mapped into memory
(docs/decisions/0014). Where the settings name a bucket, files lie there under the same names
(`counterpoint.bucketblobs`). Knows no model; who may read is decided before anybody asks.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

from django.conf import settings

from calm_engine.errors import InternalError
from counterpoint import sealedfiles
from counterpoint.database import current_tenant_id
from counterpoint.disk import (
    disk_full_is_told,
    flush_folder,
    require_space,
    same_disk,
    settle,
    writing_aside,
)

SEALED = frozenset({"original", "text", "manifest", "report", "logo"})
KINDS = SEALED | {"anchor", "augmenter", "composition", "control", "embedder"}
SUFFIX = ".sealed"  # of a sealed file inside an adopted folder
PIECE = 1 << 20  # bytes read at a time
HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Stored:
    """What a file is called, and how long it is in bytes."""

    digest: str
    size: int


Opened = BufferedReader | BytesIO


class Chunked(Protocol):
    """An uploaded file as Django gives it."""

    def chunks(self) -> Iterator[bytes]: ...


class Blobs:
    """The files of one tenant."""

    def __init__(self, home: Path, tenant_id: UUID) -> None:
        self.root = home / "blobs" / str(tenant_id)

    def put(self, kind: str, file: BinaryIO | Chunked | bytes) -> Stored:
        """Store these bytes, sealed while they stream; the same bytes again change nothing.

        Raises InputError("disk.full", free=, need=); nothing is left then.
        """
        folder = self.kind_folder(kind)
        require_space(folder, int(getattr(file, "size", 0) or 0))
        with writing_aside(folder) as (target, aside):
            digest, size = sealedfiles.write(target, pieces(file), kind=kind)
            settle(target)
            # One that is whole stays: a backup may have it already, under its key.
            if not self.is_whole(kind, digest):
                self.name(aside, kind, digest)
        return Stored(digest, size)

    def name(self, aside: Path, kind: str, digest: str) -> None:
        """Give a file that was written aside its name."""
        folder = self.kind_folder(kind)
        aside.rename(folder / digest)
        flush_folder(folder)

    def open(self, kind: str, digest: str) -> Opened:
        """The plain bytes, one can seek in them.

        Raises InternalError: "blob.missing", "key.gone", and "blob.damaged", which may come as late
        as the bytes in question are read.
        """
        source = self.raw(kind, name_of(digest))
        if sealedfiles.peek(source):
            return sealedfiles.read_from(source, kind=kind, name=digest)
        return plain(source, kind, digest)

    def open_within(self, kind: str, digest: str, name: str) -> Opened:
        """The plain bytes of one file of an adopted folder of a sealed kind. Raises as `open`."""
        called = f"{name_of(digest)}/{name}"
        try:
            source = self.raw(kind, f"{called}{SUFFIX}")
        except InternalError as error:
            if error.code != "blob.missing":
                raise
            return self.raw(kind, called)  # as an older release left it
        return sealedfiles.read_from(source, kind=kind, name=called)

    def raw(self, kind: str, name: str) -> Opened:
        """A file as it lies, sealed or not, one can seek in it. Raises "blob.missing"."""
        try:
            return (self.kind_folder(kind) / name).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise missing(kind, name) from None

    def names(self, kind: str) -> list[str]:
        """The digests of what is stored of a kind: files and adopted folders."""
        return sorted(
            each.name for each in self.kind_folder(kind).iterdir() if is_stored(each.name)
        )

    def within(self, kind: str, digest: str) -> list[str]:
        """What the files of an adopted folder are called; nothing for a file."""
        folder = self.kind_folder(kind) / name_of(digest)
        files = (each for each in folder.rglob("*") if each.is_file())
        return sorted(each.relative_to(folder).as_posix().removesuffix(SUFFIX) for each in files)

    def is_whole(self, kind: str, digest: str) -> bool:
        """Whether the file is there and all of it opens."""
        try:
            self.prove(kind, digest)
        except InternalError:
            return False
        return True

    def prove(self, kind: str, digest: str) -> None:
        """Read every byte. Raises InternalError as `open`, and "blob.damaged" for others."""
        with self.open(kind, digest) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise damaged(kind, digest)

    def path(self, kind: str, digest: str) -> Path:
        """Where it lies on this machine, sealed or not. Raises InternalError("blob.missing")."""
        path = self.kind_folder(kind) / name_of(digest)
        if not path.exists():
            raise missing(kind, digest)
        return path

    def exists(self, kind: str, digest: str) -> bool:
        return (self.kind_folder(kind) / name_of(digest)).exists()

    def delete(self, kind: str, digest: str) -> None:
        """Forget a file or a folder; what is not there is forgotten already."""
        path = self.kind_folder(kind) / name_of(digest)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def adopt_folder(self, kind: str, folder: Path, digest: str) -> Path:
        """Move a finished folder under its digest; the newcomer goes when that is there already.

        The files of a sealed kind are sealed on the way.
        """
        target = self.kind_folder(kind) / name_of(digest)
        if target.is_dir():
            shutil.rmtree(folder)
            return target
        with disk_full_is_told(target.parent):
            if kind in SEALED:
                seal_folder(folder, kind, digest)
            if same_disk(folder, target.parent):
                folder.rename(target)
            else:
                aside = target.parent / f".{secrets.token_hex(8)}"
                shutil.copytree(folder, aside)
                aside.rename(target)
                shutil.rmtree(folder)
        flush_folder(target.parent)
        return target

    def folder(self, kind: str, digest: str) -> Path:
        """An adopted folder. Raises InternalError("blob.missing")."""
        return self.path(kind, digest)

    def require_kind(self, kind: str) -> None:
        if kind not in KINDS:
            raise InternalError("blob.kind", "No such kind of stored file.", kind=kind)

    def kind_folder(self, kind: str) -> Path:
        self.require_kind(kind)
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


def blobs() -> Blobs:
    """The files of the tenant in scope. Raises InternalError("blob.no_tenant")."""
    if settings.S3_BUCKET:
        from counterpoint.bucketblobs import BucketBlobs  # noqa: PLC0415  it builds on this module

        return BucketBlobs(settings.HOME, tenant_in_scope())
    return Blobs(settings.HOME, tenant_in_scope())


def run_folder_of(run_id: UUID | str) -> Path:
    """Where the working folder of a run of the tenant in scope is, or would be."""
    folder: Path = settings.HOME / "runs" / str(tenant_in_scope()) / str(run_id)
    return folder


def run_folder(run_id: UUID | str) -> Path:
    """The working folder of a run of the tenant in scope: specs, events, checkpoints, results."""
    folder = run_folder_of(run_id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def tenant_in_scope() -> UUID:
    tenant_id = current_tenant_id.get()
    if tenant_id is None:
        raise InternalError("blob.no_tenant", "A file was asked for outside a tenant scope.")
    return tenant_id


def name_of(digest: str) -> str:
    """The digest, if it is one: it becomes part of a path. Raises InternalError("blob.digest")."""
    if not is_stored(digest):
        raise InternalError("blob.digest", "That is no SHA-256 digest.")
    return digest


def is_stored(name: str) -> bool:
    """Whether a name is a digest; what is still being written begins with a dot."""
    return len(name) == 64 and HEX.issuperset(name)


def missing(kind: str, name: str) -> InternalError:
    return InternalError("blob.missing", "A stored file is gone.", kind=kind, digest=name)


def damaged(kind: str, name: str) -> InternalError:
    return InternalError("blob.damaged", "A stored file does not open.", kind=kind, name=name)


def plain(file: Opened, kind: str, digest: str) -> Opened:
    """A file that an older release left unsealed, once it proved to be what it is called."""
    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
        file.close()
        raise damaged(kind, digest)
    file.seek(0)
    return file


def seal_folder(folder: Path, kind: str, digest: str) -> int:
    """Seal the files of a folder of this digest that lie plain; how many."""
    left = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != SUFFIX]
    for path in left:
        name = f"{digest}/{path.relative_to(folder).as_posix()}"
        with path.open("rb") as file, writing_aside(path.parent) as (target, aside):
            sealedfiles.write(target, pieces(file), kind=kind, name=name)
            settle(target)
            aside.rename(path.with_name(path.name + SUFFIX))
        path.unlink()
    return len(left)


def pieces(file: BinaryIO | Chunked | bytes) -> Iterator[bytes]:
    if isinstance(file, bytes):
        yield file
    elif hasattr(file, "chunks"):
        yield from file.chunks()
    else:
        while piece := file.read(PIECE):
            yield piece
