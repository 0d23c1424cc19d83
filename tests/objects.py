"""A server that speaks S3, on loopback, and the settings that name a bucket on it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_django import Settings

BUCKET = "counterpoint"
WITHOUT_WRITING = """{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*",
  "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": "arn:aws:s3:::counterpoint/*"}]}"""


def under_an_authority(folder: Path) -> ssl.SSLContext:
    """A server's context, its certificate signed by an authority of this folder: `ca.pem`."""
    now = datetime.now(UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {
        name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} of a test")])
        for name in keys
    }
    for serial, name in enumerate(keys, 1):
        made = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(keys[name].public_key())
            .serial_number(serial)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=5))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(name == "ca", path_length=None), critical=True)
            .sign(keys["ca"], hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = keys["server"].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.key").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server of objects."""
    # A large library, for this alone.
    from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
    from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: PLC0415

    class Silent(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    server = make_server(
        "127.0.0.1",
        0,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=Silent,
        ssl_context=tls,
    )
    # Clients keep their connections for a minute and more: nobody waits for them at the end.
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http{'s' if tls else ''}://{'localhost' if tls else '127.0.0.1'}:{server.server_port}"
    server.shutdown()
    thread.join()


def empty(endpoint: str) -> None:
    """Nothing on the server but one empty bucket."""
    httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
    httpx.put(f"{endpoint}/{BUCKET}").raise_for_status()


def forbid_writing(endpoint: str) -> None:
    """A key that may read and list, and nothing else."""
    httpx.put(f"{endpoint}/{BUCKET}?policy", content=WITHOUT_WRITING).raise_for_status()


def named(endpoint: str, prefix: str = "site") -> dict[str, str]:
    """The settings of a process that keeps its files there."""
    return {
        "S3_BUCKET": BUCKET,
        "S3_ENDPOINT": endpoint,
        "S3_PREFIX": prefix,
        "S3_KEY_ID": "somebody",
        "S3_SECRET": "a secret of the bucket",
    }


def use(settings: Settings, endpoint: str, home: Path, prefix: str = "site") -> None:
    """From here on, this process keeps its files there."""
    settings.HOME = home
    for name, value in named(endpoint, prefix).items():
        setattr(settings, name, value)
