"""What wraps data keys: a site key from a file, or a key that never leaves Vault.

Knows no tenant and no table. A wrapped key is bound to the words it was wrapped about.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import Protocol

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from calm_engine.errors import InputError, InternalError

NONCE_BYTES, KEY_BYTES = 12, 32
PATIENCE = 5.0  # seconds for one answer of Vault


class SiteKeys(Protocol):
    """Wraps and unwraps; each wrapped key says which site key did it."""

    def key_id(self) -> str:
        """The site key that wraps now."""

    def wrap(self, key: bytes, about: bytes) -> tuple[str, bytes]:
        """The id of the site key, and the wrapped key. Raises InternalError("key.site_away")."""

    def unwrap(self, key_id: str, wrapped: bytes, about: bytes) -> bytes:
        """The key. Raises InternalError: "key.site_missing", "key.wrapped", "key.site_away"."""


class FileKeys:
    """Site keys of 32 bytes in base64, the newest first: that one wraps, all of them unwrap.

    Raises InputError("setting.value") for anything that is no such key.
    """

    def __init__(self, text: str) -> None:
        keys = [key_of(word) for word in text.replace(",", " ").split()]
        if not keys:
            raise not_a_key()
        self.keys = {f"file:{fingerprint(key)}": key for key in keys}
        self.newest = next(iter(self.keys))

    def key_id(self) -> str:
        return self.newest

    def wrap(self, key: bytes, about: bytes) -> tuple[str, bytes]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self.newest, nonce + AESGCM(self.keys[self.newest]).encrypt(nonce, key, about)

    def unwrap(self, key_id: str, wrapped: bytes, about: bytes) -> bytes:
        if key_id not in self.keys:
            raise InternalError(
                "key.site_missing",
                f"Data was sealed under the site key {key_id}, which is not among those given.",
                key=key_id,
            )
        try:
            return AESGCM(self.keys[key_id]).decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], about
            )
        except InvalidTag:
            raise InternalError(
                "key.wrapped", "A wrapped data key was changed or moved.", key=key_id
            ) from None


class VaultKeys:
    """A key of Vault's transit engine; only Vault sees it. Its versions are Vault's own.

    Source: HashiCorp Vault, HTTP API of the transit secrets engine (encrypt, decrypt, read key).
    """

    def __init__(self, address: str, token: str, name: str) -> None:
        self.name = name
        self.client = httpx.Client(
            base_url=f"{address.rstrip('/')}/v1/transit/",
            headers={"X-Vault-Token": token},
            timeout=PATIENCE,
            follow_redirects=False,
        )

    def key_id(self) -> str:
        return self._id_of(self._ask("GET", f"keys/{self.name}")["latest_version"])

    def wrap(self, key: bytes, about: bytes) -> tuple[str, bytes]:
        body = {"plaintext": to_text(key), "associated_data": to_text(about)}
        told = str(self._ask("POST", f"encrypt/{self.name}", body)["ciphertext"])
        return self._id_of(told.split(":")[1].removeprefix("v")), told.encode()

    def unwrap(self, key_id: str, wrapped: bytes, about: bytes) -> bytes:
        if not key_id.startswith(f"vault:{self.name}:"):
            raise InternalError(
                "key.site_missing",
                f"Data was sealed under the site key {key_id}, which Vault here does not hold.",
                key=key_id,
            )
        body = {"ciphertext": wrapped.decode(), "associated_data": to_text(about)}
        return base64.b64decode(self._ask("POST", f"decrypt/{self.name}", body)["plaintext"])

    def _id_of(self, version: object) -> str:
        return f"vault:{self.name}:v{version}"

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, str]:
        try:
            answer = self.client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise InternalError(
                "key.site_away", f"Vault does not answer ({type(error).__name__})."
            ) from error
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise InternalError("key.wrapped", "Vault does not open a wrapped data key.")
        if answer.status_code != httpx.codes.OK:
            raise InternalError(
                "key.site_away", f"Vault refused, with status {answer.status_code}."
            )
        return dict(answer.json()["data"])


def key_of(word: str) -> bytes:
    """The key of this base64 text, with or without padding."""
    try:
        key = base64.urlsafe_b64decode(word.replace("+", "-").replace("/", "_") + "==")
    except binascii.Error:
        raise not_a_key() from None
    if len(key) != KEY_BYTES:
        raise not_a_key()
    return key


def not_a_key() -> InputError:
    wanted = "one or more keys of 32 bytes in base64, the newest first"
    return InputError("setting.value", f"SITE_KEY should be {wanted}.", setting="SITE_KEY")


def fingerprint(key: bytes) -> str:
    """A short public name of a key, from which nothing of it can be learned."""
    return hashlib.sha256(b"counterpoint site key|" + key).hexdigest()[:12]


def to_text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
