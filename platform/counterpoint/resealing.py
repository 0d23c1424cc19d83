"""Seals again what lies under an older data key, and what an older release left plain.

File by file, each replaced by a rename, so people read and write meanwhile; broken off, it goes on
where it stopped, since what is under the newest key already is left alone. Works for the tenant in
scope.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from calm_engine.errors import InternalError
from counterpoint import keys, sealedcolumns, sealedfiles, shelves
from counterpoint.bucketblobs import BucketBlobs
from counterpoint.disk import settle, writing_aside
from counterpoint.storage import SEALED, SUFFIX, Blobs, blobs, damaged, pieces, seal_folder

LOCK = "resealing.lock"


@dataclass(frozen=True)
class Resealed:
    """How many files were sealed anew, how many were right already, and what would not open.

    columns   secrets in rows that were sealed anew
    """

    moved: int
    right: int
    faults: list[str]
    columns: int = 0


def reseal(home: Path) -> Resealed:
    """Seal everything of the tenant under its newest key. What does not open stays as it is."""
    store, wanted = blobs(), keys.newest().version
    moved, right, faults = 0, 0, []
    for name, again in orders(store, wanted):
        try:
            with while_no_backup_runs(home):
                changed = again()
        except FileNotFoundError:  # deleted meanwhile
            continue
        except InternalError as error:
            faults.append(f"{name}: {error.code}")
            continue
        moved += changed
        right += not changed
    for each in shelves.EVERY:
        for path, name in each.standing():
            try:
                moved += reseal_shelved(each.kind, path, name, wanted)
            except (FileNotFoundError, InternalError):
                continue  # a cache: what does not open is made anew by the next training
    return Resealed(moved, right, faults, sealedcolumns.reseal(wanted))


def orders(store: Blobs, wanted: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """Name of what is stored of the sealed kinds, and what seals it anew; in a bucket or here."""
    if isinstance(store, BucketBlobs):
        for kind, name in store.sealed():
            yield f"{kind}/{name}", partial(store.reseal, kind, name, wanted)
        return
    for kind, path in standing(store):
        yield f"{kind}/{path.name}", partial(reseal_one, store, kind, path, wanted)


def standing(store: Blobs) -> Iterator[tuple[str, Path]]:
    """What is stored of the sealed kinds; what is still being written begins with a dot."""
    for kind in sorted(SEALED):
        for path in sorted(store.kind_folder(kind).iterdir()):
            if not path.name.startswith("."):
                yield kind, path


def reseal_one(store: Blobs, kind: str, path: Path, wanted: int) -> int:
    """1 when the file, or one in the folder, was sealed anew. Raises InternalError as `open`."""
    if path.is_dir():
        sealed = seal_folder(path, kind, path.name)
        for file in sorted(path.rglob(f"*{SUFFIX}")):
            name = file.relative_to(path).as_posix().removesuffix(SUFFIX)
            if sealedfiles.key_version(file) != wanted:
                with store.open_within(kind, path.name, name) as plain:
                    replace(file, plain, kind=kind, name=f"{path.name}/{name}")
                sealed += 1
        return min(1, sealed)
    if sealedfiles.key_version(path) == wanted:
        return 0
    with store.open(kind, path.name) as plain:
        replace(path, plain, kind=kind, name=path.name)
    return 1


def reseal_shelved(kind: str, path: Path, name: str, wanted: int) -> int:
    """1 when what a run left was sealed anew."""
    if sealedfiles.key_version(path) == wanted:
        return 0
    with sealedfiles.opened(path, kind=kind, name=name) as plain:
        replace(path, plain, kind=kind, name=name)
    return 1


def in_use(home: Path) -> dict[int, int]:
    """How much of the tenant is sealed under each data key: files of every kind, and columns."""
    found: Counter[int] = Counter()
    for path in sorted(home.glob(f"*/{keys.tenant_in_scope()}/**/*")):
        with suppress(FileNotFoundError):  # moved or deleted meanwhile
            if path.is_file() and (version := sealedfiles.key_version(path)) is not None:
                found[version] += 1
    store = blobs()
    if isinstance(store, BucketBlobs):
        versions = (store.key_version(kind, name) for kind, name in store.sealed())
        found.update(version for version in versions if version is not None)
    columns = (sealedcolumns.version(getattr(row, name)) for row, name in sealedcolumns.held())
    found.update(version for version in columns if version is not None)
    return dict(found)


def replace(path: Path, plain: BinaryIO, *, kind: str, name: str) -> None:
    """Seal what `plain` reads in place of `path`; who has that open goes on reading it.

    Raises FileNotFoundError when it was deleted meanwhile: it must not come back. Raises
    InternalError("blob.damaged") rather than make a file whole that is not what it is called.
    """
    with writing_aside(path.parent) as (target, aside):
        digest, _size = sealedfiles.write(target, pieces(plain), kind=kind, name=name)
        if "/" not in name and digest != name:
            raise damaged(kind, name)
        settle(target)
        if not path.exists():
            raise FileNotFoundError(path)
        aside.rename(path)


# ---- backups -------------------------------------------------------------------------------------


@contextmanager
def while_no_backup_runs(home: Path) -> Iterator[None]:
    """Waits for a running backup: its picture of the database may lack the newest key."""
    with locked(home, fcntl.LOCK_SH):
        yield


@contextmanager
def while_nothing_is_resealed(home: Path) -> Iterator[None]:
    """For a backup: files keep the keys that the database had when its picture was taken."""
    with locked(home, fcntl.LOCK_EX):
        yield


@contextmanager
def locked(home: Path, how: int) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
