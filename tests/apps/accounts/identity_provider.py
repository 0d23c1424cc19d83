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
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

import xmlsec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from lxml import etree

NAMES = {
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
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
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    provider.port = server.server_port
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def encrypted(xml: bytes, certificate: bytes, transform: str = "aes256-gcm") -> bytes:
    """The answer with its signed assertion encrypted for whoever has the certificate's key."""
    root = etree.fromstring(xml)
    assertion = root.find("saml:Assertion", NAMES)
    how = {"aes256-gcm": xmlsec.Transform.AES256_GCM, "aes128-cbc": xmlsec.Transform.AES128}
    made = xmlsec.template.encrypted_data_create(
        root, how[transform], type=xmlsec.EncryptionType.ELEMENT, ns="xenc"
    )
    xmlsec.template.encrypted_data_ensure_cipher_value(made)
    about = xmlsec.template.encrypted_data_ensure_key_info(made, ns="ds")
    inner = xmlsec.template.add_encrypted_key(about, xmlsec.Transform.RSA_OAEP)
    xmlsec.template.encrypted_data_ensure_cipher_value(inner)
    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_memory(certificate, xmlsec.KeyFormat.CERT_PEM, None))
    context = xmlsec.EncryptionContext(manager)
    bits = 256 if "256" in transform else 128
    context.key = xmlsec.Key.generate(xmlsec.KeyData.AES, bits, xmlsec.KeyDataType.SESSION)
    done = context.encrypt_xml(made, assertion)
    wrapped = etree.Element(f"{{{NAMES['saml']}}}EncryptedAssertion", nsmap=NAMES)
    done.getparent().replace(done, wrapped)
    wrapped.append(done)
    return etree.tostring(root)


def leaving(provider: IdentityProvider, to: str, subject: str, **more: str) -> str:
    """A question of single logout, not yet signed."""
    told = {"id": f"_{uuid4().hex}", "issuer": provider.entity, "to": to, "at": moment(0)} | more
    return (
        f'<samlp:LogoutRequest xmlns:samlp="{NAMES["samlp"]}" xmlns:saml="{NAMES["saml"]}"'
        f' ID="{told["id"]}" Version="2.0" IssueInstant="{told["at"]}" Destination="{told["to"]}">'
        f"<saml:Issuer>{told['issuer']}</saml:Issuer>"
        f'<saml:NameID Format="{PERSISTENT}">{subject}</saml:NameID></samlp:LogoutRequest>'
    )


def posted(xml: str, provider: IdentityProvider, digest: str = "sha256") -> bytes:
    """A message with the provider's signature inside, as the POST binding wants it."""
    root = etree.fromstring(xml.encode())
    sign(root, keys(provider.key or provider.name)[0], digest)
    return etree.tostring(root)


def question_of_leaving(provider: IdentityProvider, to: str, subject: str, **more: str) -> str:
    """The same as the fields of an address, signed by the provider."""
    xml = leaving(provider, to, subject, **more)
    packed = zlib.compressobj(wbits=-15)
    raw = packed.compress(xml.encode()) + packed.flush()
    fields = {"SAMLRequest": base64.b64encode(raw).decode(), "SigAlg": RSA_SHA256}
    signed = serialization.load_pem_private_key(keys(provider.key or provider.name)[0], None)
    assert isinstance(signed, rsa.RSAPrivateKey)
    query = urlencode(fields)
    signature = signed.sign(query.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{query}&{urlencode({'Signature': base64.b64encode(signature).decode()})}"


def is_signed_inside(sent: str, certificate: bytes) -> bool:
    """Whether a message that a form carries holds a signature by this key."""
    root = etree.fromstring(base64.b64decode(sent))
    xmlsec.tree.add_ids(root, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(certificate, xmlsec.KeyFormat.CERT_PEM)
    try:
        context.verify(root.find("ds:Signature", NAMES))
    except xmlsec.Error:
        return False
    return True


def is_signed_by(query: str, kind: str, certificate: bytes) -> bool:
    """Whether the fields of an address carry this kind of message, signed by this key."""
    told = {name: each[0] for name, each in parse_qs(query).items()}
    over = urlencode({name: told[name] for name in (kind, "SigAlg")}).encode()
    public = x509.load_pem_x509_certificate(certificate).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    try:
        public.verify(
            base64.b64decode(told["Signature"]), over, padding.PKCS1v15(), hashes.SHA256()
        )
    except InvalidSignature:
        return False
    return True
