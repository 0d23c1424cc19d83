"""Bytes in sealed frames of one length, so that any size fits in little memory.

AES-256-GCM (NIST SP 800-38D); frame n has the nonce n, so a key seals one stream and no other. The
last frame says that it is the last, and what the stream is: what is cut off, reordered, changed or
put in another's place does not open (after STREAM: Hoang, Reyhanitabar, Rogaway, Vizar 2015).
Knows neither where a key comes from nor what the bytes are.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from counterpoint.seeking import Seekable

TAG_BYTES, NONCE_BYTES = 16, 12


class FrameWriter:
    """Seals what is written to it, frame by frame; `finish` seals the last one."""

    def __init__(self, target: BinaryIO, key: bytes, length: int) -> None:
        self._target, self._cipher, self._length = target, AESGCM(key), length
        self._waiting, self._number = bytearray(), 0

    def write(self, piece: bytes) -> None:
        self._waiting += piece
        # A whole frame waits too, until another byte comes: it may be the last.
        while len(self._waiting) > self._length:
            self._seal(bytes(self._waiting[: self._length]), b"more")
            del self._waiting[: self._length]

    def finish(self, about: bytes = b"") -> None:
        """The rest, perhaps nothing, as the last frame; `about` says what the stream was."""
        self._seal(bytes(self._waiting), b"last" + about)

    def _seal(self, frame: bytes, bound_to: bytes) -> None:
        self._target.write(self._cipher.encrypt(nonce(self._number), frame, bound_to))
        self._number += 1


class FrameReader(Seekable):
    """The plain bytes of a sealed stream, from where `source` stands; it can be sought in.

    The last frame is opened first: of a stream that was cut off, or is another one than `about`
    says, no byte is read. `size` is the length of the plain bytes. Whatever does not open raises
    what `damaged` makes.
    """

    def __init__(
        self,
        source: BinaryIO,
        key: bytes,
        length: int,
        *,
        damaged: Callable[[], Exception],
        about: bytes = b"",
    ) -> None:
        self._source, self._cipher, self._length = source, AESGCM(key), length
        self._about, self._damaged = about, damaged
        self._start = source.tell()
        sealed = source.seek(0, io.SEEK_END) - self._start
        self._count = max(1, -(-sealed // (length + TAG_BYTES)))
        self.size = sealed - self._count * TAG_BYTES
        self._held = -1
        self._frame = b""
        self._open(self._count - 1)

    def readinto(self, buffer: Any) -> int:
        if self._at >= self.size:
            return 0
        number, within = divmod(self._at, self._length)
        self._open(number)
        piece = self._frame[within : within + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        found = bytearray()
        while self._at < self.size:
            number, within = divmod(self._at, self._length)
            self._open(number)
            found += self._frame[within:]
            self._at = number * self._length + len(self._frame)
        return bytes(found)

    def close(self) -> None:
        self._source.close()
        super().close()

    def _open(self, number: int) -> None:
        """Have this frame in the hand."""
        if number == self._held:
            return
        self._source.seek(self._start + number * (self._length + TAG_BYTES))
        sealed = self._source.read(self._length + TAG_BYTES)
        bound_to = b"last" + self._about if number == self._count - 1 else b"more"
        try:
            self._frame = self._cipher.decrypt(nonce(number), sealed, bound_to)
        except (InvalidTag, ValueError):  # ValueError: less than a tag is left
            raise self._damaged() from None
        self._held = number


def nonce(number: int) -> bytes:
    return number.to_bytes(NONCE_BYTES, "big")
