"""Unpacks archives under limits, one outcome for each inner file.

Headers may lie, so what is counted is what really comes out.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apps.corpora.parsing.kinds import RefusedFile

RATIO_FREE = 16 << 20  # bytes unpacked before the ratio is judged: small tables compress well


@dataclass(frozen=True)
class Caps:
    """How much one container may unpack to: bytes in all, files, and bytes out per byte in."""

    unpacked: int
    members: int
    ratio: int


class Tally:
    """Counts what a container really gives, because its headers may lie."""

    def __init__(self, caps: Caps, packed: int) -> None:
        self.caps = caps
        self.packed = max(packed, 1)
        self.bytes = 0
        self.members = 0

    def member(self) -> None:
        self.members += 1
        if self.members > self.caps.members:
            raise RefusedFile("archive.bomb", limit=f"{self.caps.members} files")

    def add(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.caps.unpacked:
            raise RefusedFile("archive.bomb", limit=f"{self.caps.unpacked >> 20} MB unpacked")
        if self.bytes > max(RATIO_FREE, self.packed * self.caps.ratio):
            raise RefusedFile("archive.bomb", limit=f"{self.caps.ratio} times its own size")


Member = tuple[str, str, IO[bytes] | None]  # its path, the code that refuses it or "", its bytes


def zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                yield info.filename, "file.encrypted", None
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, "archive.path", None
            else:
                try:
                    stream = archive.open(info)
                except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
                    yield info.filename, "file.unreadable", None
                else:
                    with stream:
                        yield info.filename, "", stream


def tar_members(path: Path) -> Iterator[Member]:
    """Read as a stream, so that a lying size cannot make us seek or allocate."""
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg():
                yield info.name, "archive.path", None  # links and devices
            else:
                yield info.name, "", archive.extractfile(info)
