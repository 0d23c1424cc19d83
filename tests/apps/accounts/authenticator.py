"""A security key in software: real keys, real signatures, the bytes of WebAuthn level 2.

It does what a device and a browser do together, and what a hostile pair would: a test changes any
part of an answer before it is signed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData

ORIGIN, RELYING = "http://localhost", "localhost"
FLAGS = AuthenticatorData.FLAG


@dataclass
class SecurityKey:
    """One device with one credential.

    is_verified   whether it asks for a fingerprint or PIN
    counter       how often it signed
    """

    is_verified: bool = True
    origin: str = ORIGIN
    relying: str = RELYING
    counter: int = 0
    handle: str = ""
    id: bytes = field(default_factory=lambda: os.urandom(32))
    private: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def create(self, options: dict[str, Any], *, alone: bool = True) -> dict[str, Any]:
        """What the browser answers to navigator.credentials.create."""
        asked = options["publicKey"]
        self.handle = asked["user"]["id"]
        public = ES256.from_cryptography_key(self.private.public_key())
        data = AttestedCredentialData.create(Aaguid.NONE, self.id, public)
        made = AuthenticatorData.create(
            self._hash(), self._flags() | FLAGS.AT, self.counter, bytes(data)
        )
        attestation = AttestationObject.create("none", made, {})
        client = self._client("webauthn.create", asked["challenge"])
        return self._shown(
            {"clientDataJSON": client, "attestationObject": bytes(attestation)},
            {"credProps": {"rk": alone}},
        )

    def get(self, options: dict[str, Any], *, kind: str = "webauthn.get") -> dict[str, Any]:
        """What the browser answers to navigator.credentials.get."""
        self.counter += 1
        made = bytes(AuthenticatorData.create(self._hash(), self._flags(), self.counter))
        client = self._client(kind, options["publicKey"]["challenge"])
        signature = self.private.sign(made + sha256(client).digest(), ec.ECDSA(SHA256()))
        shown = self._shown(
            {"clientDataJSON": client, "authenticatorData": made, "signature": signature}, {}
        )
        shown["response"]["userHandle"] = self.handle
        return shown

    def _client(self, kind: str, challenge: str) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(told).encode()

    def _hash(self) -> bytes:
        return sha256(self.relying.encode()).digest()

    def _flags(self) -> FLAGS:
        return FLAGS.UP | FLAGS.UV if self.is_verified else FLAGS.UP

    def _shown(self, response: dict[str, bytes], extensions: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": websafe_encode(self.id),
            "rawId": websafe_encode(self.id),
            "type": "public-key",
            "clientExtensionResults": extensions,
            "response": {name: websafe_encode(value) for name, value in response.items()},
        }


def broken_attestation() -> str:
    """CBOR that is no attestation."""
    return websafe_encode(cbor.encode({"fmt": "none"}))
