"""Plain copies of sealed files, for programs that want a path: `{home}/plain/{tenant}/{random}/`.

Each copy lies in a folder of its own and is gone when its user is done. A user that was killed
leaves its folder behind; the lock that it held on the copy went with it, so `sweep` finds which
ones nobody uses. Knows no key and no model.
"""

from __future__ import annotations

import fcntl
import io
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from django.conf import settings

from counterpoint.disk import disk_full_is_told

NAME = "file"
PIECE = 1 << 20  # bytes read at a time
YOUNG = 60.0  # seconds: a folder is made before its copy is locked


@contextmanager
def plain_copy(file: BinaryIO, tenant_id: UUID | str) -> Iterator[Path]:
    """The bytes of an open file as a file of their own; its folder is private and goes with it.

    Whoever unpacks or draws something of it does so beside it. Raises InputError("disk.full").
    """
    folder = root() / str(tenant_id) / secrets.token_hex(8)
    try:
        with file, disk_full_is_told(root().parent):
            folder.mkdir(parents=True, mode=0o700)
            copy = folder / NAME
            with copy.open("xb") as target:
                fcntl.flock(target, fcntl.LOCK_EX)  # held until the copy is removed, or we die
                copy.chmod(0o600)
                shutil.copyfileobj(file, target, PIECE)
                target.flush()
                yield copy
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def plain_folder(tenant_id: UUID | str) -> Iterator[Path]:
    """A private folder for whatever is plain, gone when its user is done, or swept when it died.

    Raises as `plain_copy`.
    """
    with plain_copy(io.BytesIO(), tenant_id) as held:
        yield held.parent


def sweep() -> int:
    """Remove the copies of every tenant whose user has died; how many."""
    return sum(drop(folder) for folder in root().glob("*/*") if is_left_behind(folder))


def root() -> Path:
    found: Path = settings.HOME / "plain"
    return found


def is_left_behind(folder: Path) -> bool:
    """Whether nobody holds this copy any more; a very young one is perhaps just being made."""
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime < YOUNG:
            return False
        with (folder / NAME).open("rb") as copy:
            fcntl.flock(copy, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    # Without a copy in it, it was left before there was one, or is being removed.
    return folder.is_dir() and not (folder / NAME).exists()


def drop(folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    return 1
