"""One stored file as it lies on disk: a head that names its data key, then sealed frames.

    8 bytes   mark, which ends in the version of this form
    4 bytes   version of the tenant's data key
    16 bytes  salt: with tenant and version it makes the key of this file alone
    frames    of 64 KiB and a tag, as `counterpoint.framing` seals them

The last frame is bound to what the file is called, so a file in another's place does not open.
Works for the tenant in scope; knows no folder, and nothing of files that an older release left
plain but how to tell them.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from calm_engine.errors import InternalError
from counterpoint import keys
from counterpoint.framing import FrameReader, FrameWriter

MARK = b"\x89cpo\r\n\x1a\x01"  # no text begins so, and a copy made as text does not survive
VERSION_BYTES, SALT_BYTES, FRAME = 4, 16, 64 << 10
HEAD = len(MARK) + VERSION_BYTES + SALT_BYTES


def write(
    target: BinaryIO, pieces: Iterable[bytes], *, kind: str, name: str = ""
) -> tuple[str, int]:
    """Seal a stream into `target` under the newest data key, bound to its kind and its name.

    Without a name it is called by its digest. Returns the SHA-256 of the plain bytes, their number.
    """
    key, salt = keys.newest(), secrets.token_bytes(SALT_BYTES)
    target.write(MARK + key.version.to_bytes(VERSION_BYTES, "big") + salt)
    sealed = FrameWriter(target, key.for_object(f"file|{salt.hex()}"), FRAME)
    told, size = hashlib.sha256(), 0
    for piece in pieces:
        told.update(piece)
        size += len(piece)
        sealed.write(piece)
    digest = told.hexdigest()
    sealed.finish(called(kind, name or digest))
    return digest, size


def called(kind: str, name: str) -> bytes:
    return f"|{kind}/{name}".encode()


def opened(path: Path, *, kind: str, name: str) -> io.BufferedReader:
    """The plain bytes of a sealed file. Raises as `read_from`."""
    return read_from(path.open("rb"), kind=kind, name=name)


def read_from(stored: BinaryIO, *, kind: str, name: str) -> io.BufferedReader:
    """The plain bytes of what lies sealed; `stored` is closed with them.

    Raises InternalError: "blob.damaged", "key.gone". Bytes that do not open raise "blob.damaged"
    when they are read.
    """

    def damaged() -> InternalError:
        return InternalError("blob.damaged", "A stored file does not open.", kind=kind, name=name)

    with ExitStack() as unless_it_opens:
        source = unless_it_opens.enter_context(stored)
        head = source.read(HEAD)
        if not is_sealed(head):
            raise damaged()
        key = keys.named(version_in(head)).for_object(f"file|{head[-SALT_BYTES:].hex()}")
        raw = FrameReader(source, key, FRAME, damaged=damaged, about=called(kind, name))
        unless_it_opens.pop_all()
    return io.BufferedReader(raw, FRAME)


def key_version(path: Path) -> int | None:
    """Which data key sealed this file; None for one that lies plain."""
    head = bytes.fromhex(head_of(path))
    return version_in(head) if head else None


def head_of(path: Path) -> str:
    """The head of a sealed file in hexadecimal, another one whenever it is written; "" if plain."""
    with path.open("rb") as source:
        head = peek(source)
    return head.hex()


def peek(source: BinaryIO) -> bytes:
    """The head of what lies sealed, empty of what lies plain; `source` stands where it stood."""
    head = source.read(HEAD)
    source.seek(-len(head), io.SEEK_CUR)
    return head if is_sealed(head) else b""


def is_sealed(head: bytes) -> bool:
    return len(head) == HEAD and head.startswith(MARK)


def version_in(head: bytes) -> int:
    return int.from_bytes(head[len(MARK) :][:VERSION_BYTES], "big")
