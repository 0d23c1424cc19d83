"""Private files named by their digest: `{home}/blobs/{tenant}/{kind}/{sha256}`.

Written aside, flushed to disk, then renamed: a name that exists is whole. The same bytes twice are
one file. Knows no model; who may read is decided before anybody asks for a path.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

from django.conf import settings

from calm_engine.errors import InputError, InternalError
from counterpoint.database import current_tenant_id

KINDS = frozenset({"original", "text", "anchor", "augmenter", "composition", "control", "report"})
PIECE = 1 << 20  # bytes read at a time
HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Stored:
    """What a file is called, and how long it is in bytes."""

    digest: str
    size: int


class Chunked(Protocol):
    """An uploaded file as Django gives it."""

    def chunks(self) -> Iterator[bytes]: ...


class Blobs:
    """The files of one tenant."""

    def __init__(self, home: Path, tenant_id: UUID) -> None:
        self.root = home / "blobs" / str(tenant_id)

    def put(self, kind: str, file: BinaryIO | Chunked | bytes) -> Stored:
        """Store these bytes, streamed; the same bytes again change nothing.

        Raises InputError("disk.full", free=, need=); nothing is left then.
        """
        folder = self.kind_folder(kind)
        require_space(folder, int(getattr(file, "size", 0) or 0))
        aside = folder / f".{secrets.token_hex(8)}"
        told, size = hashlib.sha256(), 0
        try:
            with disk_full_is_told(folder), aside.open("xb") as target:
                for piece in pieces(file):
                    told.update(piece)
                    size += len(piece)
                    target.write(piece)
                target.flush()
                os.fsync(target.fileno())
            aside.chmod(0o600)
            aside.rename(folder / told.hexdigest())
            flush_folder(folder)
        finally:
            aside.unlink(missing_ok=True)
        return Stored(told.hexdigest(), size)

    def open(self, kind: str, digest: str) -> BinaryIO:
        """The stored bytes. Raises InternalError("blob.missing")."""
        return self.path(kind, digest).open("rb")

    def path(self, kind: str, digest: str) -> Path:
        """Where the bytes lie on this machine. Raises InternalError("blob.missing")."""
        path = self.kind_folder(kind) / name_of(digest)
        if not path.exists():
            raise InternalError("blob.missing", "A stored file is gone.", kind=kind, digest=digest)
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
        """Move a finished folder under its digest; the newcomer goes when that is there already."""
        target = self.kind_folder(kind) / name_of(digest)
        if target.is_dir():
            shutil.rmtree(folder)
            return target
        with disk_full_is_told(target.parent):
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

    def kind_folder(self, kind: str) -> Path:
        if kind not in KINDS:
            raise InternalError("blob.kind", "No such kind of stored file.", kind=kind)
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


def blobs() -> Blobs:
    """The files of the tenant in scope. Raises InternalError("blob.no_tenant")."""
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


def study_folder(corpus_id: UUID | str) -> Path:
    """Where what a model wrote from a corpus's passages is kept between its runs."""
    folder: Path = settings.HOME / "study" / str(tenant_in_scope()) / str(corpus_id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def tenant_in_scope() -> UUID:
    tenant_id = current_tenant_id.get()
    if tenant_id is None:
        raise InternalError("blob.no_tenant", "A file was asked for outside a tenant scope.")
    return tenant_id


def name_of(digest: str) -> str:
    """The digest, if it is one: it becomes part of a path. Raises InternalError("blob.digest")."""
    if len(digest) != 64 or not HEX.issuperset(digest):
        raise InternalError("blob.digest", "That is no SHA-256 digest.")
    return digest


def pieces(file: BinaryIO | Chunked | bytes) -> Iterator[bytes]:
    if isinstance(file, bytes):
        yield file
    elif hasattr(file, "chunks"):
        yield from file.chunks()
    else:
        while piece := file.read(PIECE):
            yield piece


def require_space(folder: Path, need: int) -> None:
    """Raises InputError("disk.full") unless `need` bytes fit and the reserve stays free."""
    free = shutil.disk_usage(folder).free
    if free < need + settings.DISK_RESERVE_BYTES:
        raise disk_full(folder, free=free, need=need)


def disk_full(folder: Path, *, free: int, need: int) -> InputError:
    return InputError(
        "disk.full", "The disk is full; nothing was stored.", free=free, need=need, path=str(folder)
    )


@contextmanager
def disk_full_is_told(folder: Path) -> Iterator[None]:
    """Turn the system's "no space left" into InputError("disk.full")."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise disk_full(folder, free=shutil.disk_usage(folder).free, need=0) from error


def same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
