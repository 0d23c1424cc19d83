"""Files that are whole or absent, and a full disk told in words. Knows no tenant and no key."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from calm_engine.errors import InputError

_LIBC = ctypes.CDLL(None, use_errno=True)  # Python has no name for syncfs


@contextmanager
def writing_aside(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file under a name that nobody reads, and that name; it goes unless it was renamed."""
    aside = folder / f".{secrets.token_hex(8)}"
    try:
        with disk_full_is_told(folder), aside.open("xb") as target:
            aside.chmod(0o600)
            yield target, aside
    finally:
        aside.unlink(missing_ok=True)


def settle(target: BinaryIO) -> None:
    """Bring what was written to the disk, before it gets its name."""
    target.flush()
    os.fsync(target.fileno())


def settle_all(folder: Path) -> None:
    """Bring everything that was written to this folder's disk there, in one go (syncfs(2)).

    For many files that count only together: a flush of each makes every other writer of the disk
    wait as often. Raises OSError when anything of it could not be written (Linux 5.8 and later).
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _LIBC.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed", str(folder))
    finally:
        os.close(descriptor)


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
    """Make a rename survive a power cut. Raises InputError("disk.full")."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with disk_full_is_told(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
