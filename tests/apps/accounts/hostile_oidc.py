"""An OpenID Connect provider on this machine that lies as a test tells it to. Its keys are real."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

Claims = dict[str, Any]


@lru_cache
def key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def published(name: str) -> dict[str, Any]:
    told: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(key(name).public_key(), as_dict=True)
    return told | {"kid": name, "use": "sig", "alg": "RS256"}


def signed(claims: Claims, by: str = "own", kid: str | None = "own") -> str:
    headers = {"kid": kid} if kid else {}
    return jwt.encode(claims, key(by), algorithm="RS256", headers=headers)


def without_signature(claims: Claims) -> str:
    return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'own'})}.{part(claims)}."


def by_the_public_key(claims: Claims) -> str:
    """HMAC with what everybody can read as its secret."""
    text = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'own'})}.{part(claims)}"
    public = key("own").public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hmac.new(pem, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def part(told: Claims) -> str:
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")


@dataclass
class Liar:
    """One provider.

    claims   of the person who signs in
    change   what becomes of the token's claims
    sign     how the token is signed
    told     what it says of the person when it is asked, beside the claims
    issuer   who it says that it is
    hides    what it does not say of itself
    """

    claims: Claims
    change: Callable[[Claims], Claims] = lambda claims: claims
    sign: Callable[[Claims], str] = signed
    told: Claims = field(default_factory=dict)
    issuer: str = ""
    hides: str = ""
    port: int = 0
    nonce: str = ""

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.address, "aud": "counterpoint", "nonce": self.nonce}
        return self.sign(self.change(self.claims | claims | {"iat": now, "exp": now + 60}))

    def answer(self, path: str) -> Claims:
        here = self.address
        places = {
            "issuer": self.issuer or here,
            "authorization_endpoint": f"{here}/authorize",
            "token_endpoint": f"{here}/token",
            "userinfo_endpoint": f"{here}/userinfo",
            "jwks_uri": f"{here}/jwks",
        }
        places.pop(self.hides, None)
        return {
            "/.well-known/openid-configuration": places,
            "/jwks": {"keys": [published("own"), {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}]},
            "/token": {"access_token": "x", "token_type": "Bearer", "id_token": self.token()},
            "/userinfo": self.claims | self.told,
        }[path]


@contextlib.contextmanager
def running(liar: Liar) -> Iterator[Liar]:
    """The provider on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/authorize":
                query = {name: each[0] for name, each in parse_qs(asked.query).items()}
                liar.nonce = query["nonce"]
                self.send_response(302)
                to = f"{query['redirect_uri']}?code=c&state={query['state']}"
                self.send_header("Location", to)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.dumps(liar.answer(asked.path)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  as http.server calls it

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    liar.port = server.server_port
    try:
        yield liar
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
