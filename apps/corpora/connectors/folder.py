"""A mounted folder. Follows no link: nothing outside the folder is ever read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from apps.corpora.connectors.found import Found
from calm_engine.errors import InputError

PIECE = 1 << 20  # bytes read at a time


class Folder:
    """Every regular file below one folder."""

    def __init__(self, path: str) -> None:
        self.top = Path(path)

    def files(self) -> Iterator[Found]:
        if not self.top.is_dir():
            raise InputError("source.unreachable", why="the folder is not there")
        for folder, names, files in os.walk(self.top, onerror=_refuse, followlinks=False):
            names.sort()
            for name in sorted(files):
                path = Path(folder) / name
                told = path.lstat()
                if stat.S_ISREG(told.st_mode):
                    where = path.relative_to(self.top).as_posix()
                    yield Found(where, told.st_size, f"{told.st_mtime_ns}/{told.st_size}")

    def read(self, found: Found) -> Iterator[bytes]:
        path = self.top / found.path
        try:
            if not path.parent.resolve().is_relative_to(self.top.resolve()):
                raise InputError("source.unreachable", why="the file lies outside the folder")
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:  # noqa: PTH123 - a descriptor
                while piece := file.read(PIECE):
                    yield piece
        except OSError as error:
            raise InputError("source.unreachable", why=error.strerror or "not readable") from error


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed must not look like one whose files were deleted."""
    raise InputError("source.unreachable", why=error.strerror or "not readable") from error
