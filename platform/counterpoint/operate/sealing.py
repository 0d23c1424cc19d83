"""Streams sealed under the backup key. Knows no file's use.

Each file has a key of its own (HKDF-SHA256, RFC 5869, random salt), and lies in frames of 1 MiB as
`counterpoint.framing` seals them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import BinaryIO

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from calm_engine.errors import InputError
from counterpoint.framing import FrameReader, FrameWriter

MARK = b"cpb1"
SALT_BYTES, FRAME, KEY_BYTES = 16, 1 << 20, 32


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
        target.write(MARK + salt)
        sealed = FrameWriter(target, self._derived(b"file", salt), FRAME)
        while piece := source.read(FRAME):
            told.update(piece)
            size += len(piece)
            sealed.write(piece)
        sealed.finish()
        return told.hexdigest(), size

    def open(self, source: BinaryIO, target: BinaryIO | None = None) -> tuple[str, int]:
        """Copy, opened; without a target only prove it. The SHA-256 and the length.

        Raises InputError("backup.damaged") for a wrong key or a changed or shortened file.
        """
        head = source.read(len(MARK) + SALT_BYTES)
        if not head.startswith(MARK) or len(head) < len(MARK) + SALT_BYTES:
            raise damaged()
        key = self._derived(b"file", head[len(MARK) :])
        opened, told = FrameReader(source, key, FRAME, damaged=damaged), hashlib.sha256()
        while piece := opened.read(FRAME):
            told.update(piece)
            if target is not None:
                target.write(piece)
        return told.hexdigest(), opened.size


def damaged() -> InputError:
    return InputError(
        "backup.damaged",
        "A file of the backup does not open: it was changed or cut off, or the key is another.",
    )
