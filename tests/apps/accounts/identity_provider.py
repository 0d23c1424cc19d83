"""A SAML 2.0 identity provider that speaks HTTP on this machine and signs with keys of its own.

It answers questions as profile 4.1 of SAML wants, and a test may change any part of an answer
before it is signed, or after. It knows XML signatures from xmlsec, and nothing of the site.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree

NAMES = {
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"


@lru_cache
def keys(name: str) -> tuple[bytes, bytes]:
    """A private key and its certificate, in PEM; drawn once per name."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, made.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Answer:
    """What the provider says, part by part."""

    asked: str
    to: str
    audience: str
    issuer: str
    subject: str
    kind: str = PERSISTENT
    attributes: dict[str, list[str]] = field(default_factory=dict)
    lasts: float = 120  # seconds
    recipient: str = ""
    confirmed: str | None = None  # what the assertion itself says it answers
    signs: bool = True
    digest: str = "sha256"
    id: str = field(default_factory=lambda: f"_{uuid4().hex}")

    def xml(self, key: bytes) -> bytes:
        """The whole answer, its assertion signed."""
        root = etree.fromstring(self._response(self._assertion()).encode())
        if self.signs:
            sign(root.find("saml:Assertion", NAMES), key, self.digest)
        return etree.tostring(root)

    def _response(self, inside: str) -> str:
        asked = f' InResponseTo="{self.asked}"' if self.asked else ""
        return (
            f'<samlp:Response xmlns:samlp="{NAMES["samlp"]}" xmlns:saml="{NAMES["saml"]}"'
            f' ID="_{uuid4().hex}" Version="2.0" IssueInstant="{moment(0)}"'
            f' Destination="{self.to}"{asked}><saml:Issuer>{self.issuer}</saml:Issuer>'
            '<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/>'
            f"</samlp:Status>{inside}</samlp:Response>"
        )

    def _assertion(self) -> str:
        confirmed = self.asked if self.confirmed is None else self.confirmed
        asked = f' InResponseTo="{confirmed}"' if confirmed else ""
        audience = (
            f"<saml:AudienceRestriction><saml:Audience>{self.audience}</saml:Audience>"
            "</saml:AudienceRestriction>"
            if self.audience
            else ""
        )
        told = "".join(
            f'<saml:Attribute Name="{name}">'
            + "".join(f"<saml:AttributeValue>{escape(v)}</saml:AttributeValue>" for v in values)
            + "</saml:Attribute>"
            for name, values in self.attributes.items()
        )
        statement = f"<saml:AttributeStatement>{told}</saml:AttributeStatement>" if told else ""
        return (
            f'<saml:Assertion ID="{self.id}" Version="2.0" IssueInstant="{moment(0)}">'
            f"<saml:Issuer>{self.issuer}</saml:Issuer><saml:Subject>"
            f'<saml:NameID Format="{self.kind}">{self.subject}</saml:NameID>'
            '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">'
            f'<saml:SubjectConfirmationData Recipient="{self.recipient or self.to}"'
            f' NotOnOrAfter="{moment(self.lasts)}"{asked}/>'
            "</saml:SubjectConfirmation></saml:Subject>"
            f'<saml:Conditions NotBefore="{moment(min(0, self.lasts) - 60)}"'
            f' NotOnOrAfter="{moment(self.lasts)}">{audience}</saml:Conditions>'
            f'<saml:AuthnStatement AuthnInstant="{moment(0)}"><saml:AuthnContext>'
            "<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
            "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
            f"{statement}</saml:Assertion>"
        )


def moment(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sign(element: etree._Element, key: bytes, digest: str = "sha256") -> None:
    """An enveloped signature over this element, after its issuer."""
    method, how = {
        "sha256": (xmlsec.Transform.RSA_SHA256, xmlsec.Transform.SHA256),
        "sha1": (xmlsec.Transform.RSA_SHA1, xmlsec.Transform.SHA1),
    }[digest]
    made = xmlsec.template.create(element, xmlsec.Transform.EXCL_C14N, method, ns="ds")
    element.insert(1, made)
    reference = xmlsec.template.add_reference(made, how, uri=f"#{element.get('ID')}")
    xmlsec.template.add_transform(reference, xmlsec.Transform.ENVELOPED)
    xmlsec.template.add_transform(reference, xmlsec.Transform.EXCL_C14N)
    xmlsec.tree.add_ids(element, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(key, xmlsec.KeyFormat.PEM)
    context.sign(made)


@dataclass
class IdentityProvider:
    """One organisation's provider: its people, and how a test wants its answers changed."""

    name: str
    people: dict[str, dict[str, list[str]]]
    port: int = 0
    change: Callable[[Answer], Answer] = lambda answer: answer
    forge: Callable[[bytes], bytes] = lambda xml: xml
    key: str = ""

    @property
    def entity(self) -> str:
        return f"https://idp.{self.name}.example/metadata"

    def answer(self, question: str, subject: str) -> tuple[str, str]:
        """Where the answer goes, and the answer as a form carries it."""
        asked = etree.fromstring(zlib.decompress(base64.b64decode(question), -15))
        to = asked.get("AssertionConsumerServiceURL")
        answer = Answer(
            asked=asked.get("ID"),
            to=to,
            audience=asked.find("saml:Issuer", NAMES).text,
            issuer=self.entity,
            subject=subject,
            attributes=self.people[subject],
        )
        private, _certificate = keys(self.key or self.name)
        xml = self.forge(self.change(answer).xml(private))
        return to, base64.b64encode(xml).decode()


@contextlib.contextmanager
def running(provider: IdentityProvider) -> Iterator[IdentityProvider]:
    """The provider on a free port: /sso asks who one is (by `sub`) and answers with a form."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {name: each[0] for name, each in parse_qs(urlsplit(self.path).query).items()}
            to, answer = provider.answer(asked["SAMLRequest"], asked["sub"])
            page = (
                f'<form method="post" action="{escape(to)}">'
                f'<input name="SAMLResponse" value="{answer}"></form>'
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    provider.port = server.server_port
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
