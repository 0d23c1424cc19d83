"""Streams sealed under the backup key, in frames, so that any size fits. Knows no file's use.

AES-256-GCM (NIST SP 800-38D) in frames of 1 MiB; each file has a key of its own (HKDF-SHA256, RFC
5869, random salt), so frames may count their nonces. The last frame says that it is the last: what
is cut off, reordered or changed does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from calm_engine.errors import InputError

MARK = b"cpb1"
SALT_BYTES, FRAME, TAG_BYTES, KEY_BYTES = 16, 1 << 20, 16, 32


class BackupKey:
    """32 random bytes in base64, as `openssl rand -base64 32` prints them."""

    def __init__(self, text: str) -> None:
        """Raises InputError("backup.key") for anything else."""
        try:
            self._secret = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            self._secret = b""
        if len(self._secret) != KEY_BYTES:
            raise InputError(
                "backup.key",
                "BACKUP_KEY must be 32 random bytes in base64: `openssl rand -base64 32`.",
            )

    def name(self, digest: str) -> str:
        """What a stored file is called: tells whoever lacks the key nothing of its content."""
        return self.sign(b"name|" + digest.encode())

    def sign(self, text: bytes) -> str:
        return hmac.new(self._derived(b"sign", b""), text, hashlib.sha256).hexdigest()

    def _derived(self, about: bytes, salt: bytes) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt=salt or None, info=b"counterpoint|" + about).derive(
            self._secret
        )

    def seal(self, source: BinaryIO, target: BinaryIO) -> tuple[str, int]:
        """Copy, sealed. The SHA-256 of what was read, and its length in bytes."""
        salt, told, size = secrets.token_bytes(SALT_BYTES), hashlib.sha256(), 0
        cipher = AESGCM(self._derived(b"file", salt))
        target.write(MARK + salt)
        for number, (piece, is_last) in enumerate(frames(source, FRAME)):
            told.update(piece)
            size += len(piece)
            target.write(cipher.encrypt(nonce(number), piece, about(is_last=is_last)))
        return told.hexdigest(), size

    def open(self, source: BinaryIO, target: BinaryIO | None = None) -> tuple[str, int]:
        """Copy, opened; without a target only prove it. The SHA-256 and the length.

        Raises InputError("backup.damaged") for a wrong key or a changed or shortened file.
        """
        head = source.read(len(MARK) + SALT_BYTES)
        if not head.startswith(MARK) or len(head) < len(MARK) + SALT_BYTES:
            raise damaged()
        cipher = AESGCM(self._derived(b"file", head[len(MARK) :]))
        told, size = hashlib.sha256(), 0
        for number, (piece, is_last) in enumerate(frames(source, FRAME + TAG_BYTES)):
            try:
                plain = cipher.decrypt(nonce(number), piece, about(is_last=is_last))
            except InvalidTag:
                raise damaged() from None
            told.update(plain)
            size += len(plain)
            if target is not None:
                target.write(plain)
        return told.hexdigest(), size


def frames(source: BinaryIO, length: int) -> Iterator[tuple[bytes, bool]]:
    """Pieces of this length, each with whether it is the last; nothing is one empty piece."""
    piece = source.read(length)
    while True:
        following = source.read(length) if len(piece) == length else b""
        yield piece, not following
        if not following:
            return
        piece = following


def nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def about(*, is_last: bool) -> bytes:
    return b"last" if is_last else b"more"


def damaged() -> InputError:
    return InputError(
        "backup.damaged",
        "A file of the backup does not open: it was changed or cut off, or the key is another.",
    )
