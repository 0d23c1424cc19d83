"""Unpacks archives under limits, one outcome for each inner file.

Headers may lie, so what is counted is what really comes out.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from apps.corpora.parsing.kinds import CHUNK, RefusedFile, safe_path

ZST = b"\x28\xb5\x2f\xfd"
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
    with tar_stream(path) as packed, tarfile.open(fileobj=packed, mode="r|*") as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg():
                yield info.name, "archive.path", None  # links and devices
            else:
                yield info.name, "", archive.extractfile(info)


def tar_stream(path: Path) -> IO[bytes]:
    """The bytes of a tar archive; zstandard is opened here, tarfile knows the others itself."""
    file = path.open("rb")
    if file.read(4) != ZST:
        file.seek(0)
        return file
    file.close()
    return zst_stream(path)


def zst_stream(path: Path) -> IO[bytes]:
    import zstandard  # noqa: PLC0415 - the readers alone load it

    # The window bounds the memory that a frame may ask for: 128 MB, as `zstd` itself allows.
    opener = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    stream: IO[bytes] = opener.stream_reader(path.open("rb"), closefd=True)
    return stream


def single_member(path: Path, kind: str, name: str) -> Iterator[Member]:
    """What one compressed file holds: itself, without the ending that says so."""
    inner = PurePosixPath(name).name[: -len(kind) - 1] or "file"
    with gzip.GzipFile(path) if kind == "gz" else zst_stream(path) as stream:
        yield inner, "", cast("IO[bytes]", stream)


# What damaged archives and mails raise, wherever we happen to read.
DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    IndexError,
    LookupError,
)


def damage() -> tuple[type[Exception], ...]:
    """DAMAGE, what the zstandard library raises, and OSError, which `is_ours` tells apart."""
    import zstandard  # noqa: PLC0415 - the readers alone load it

    return (*DAMAGE, zstandard.ZstdError, OSError)


def is_ours(error: Exception) -> bool:
    """Whether our disk or our limits failed, and not the archive, which seeks to nonsense."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def unpack(
    members: Iterator[Member], packed: int, folder: Path, caps: Caps
) -> list[dict[str, Any]]:
    """Write each inner file under a number in `folder`; one outcome for each.

    packed  bytes of the container, which its ratio is judged by

    Returns [{"path", "file" (number or ""), "code", "facts"}]. Raises RefusedFile("archive.bomb")
    when the whole passes a cap: then nothing of it is kept.
    """
    tally = Tally(caps, packed)
    inner: list[dict[str, Any]] = []
    broken = damage()
    try:
        for name, code, stream in members:
            tally.member()
            inner.append(outcome(name, code, stream, folder / str(len(inner)), tally))
    except broken as error:
        if is_ours(error):
            raise
        why = "the archive is damaged or not complete"
        if not inner:
            raise RefusedFile("file.unreadable", why=why) from error
        # What came before the damage is kept; the damage itself is one more outcome.
        inner.append(
            {"path": "(the rest)", "file": "", "code": "file.unreadable", "facts": {"why": why}}
        )
    return inner


def outcome(
    name: str, code: str, stream: IO[bytes] | None, target: Path, tally: Tally
) -> dict[str, Any]:
    path = safe_path(name)
    if path is None or code or stream is None:
        said = code if path is not None and code else "archive.path"
        return {"path": path or name, "file": "", "code": said, "facts": {}}
    broken = damage()
    try:
        with target.open("wb") as out:
            while piece := stream.read(CHUNK):
                tally.add(len(piece))
                out.write(piece)
    except broken as error:
        if is_ours(error):
            raise
        target.unlink(missing_ok=True)
        facts = {"why": f"it is damaged inside the archive: {type(error).__name__}"}
        return {"path": path, "file": "", "code": "file.unreadable", "facts": facts}
    return {"path": path, "file": target.name, "code": "", "facts": {}}
