"""The doctor on the real engines: what is well, and each thing that is not, by its name."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.db import connection
from pytest_django import Settings

from counterpoint.operate import doctor
from counterpoint.operate.doctor import Finding, State

pytestmark = pytest.mark.django_db


def about(found: list[Finding], name: str) -> list[Finding]:
    return [each for each in found if each.about == name]


def states(found: list[Finding]) -> set[State]:
    return {each.state for each in found}


def test_engines_that_are_well_are_told_so() -> None:
    assert states(list(doctor.database())) == {State.OK}
    assert states(list(doctor.broker())) == {State.OK}
    assert states(list(doctor.home())) <= {State.OK, State.WARNING}


def test_a_broker_that_is_away_is_a_fault(settings: Settings) -> None:
    settings.REDIS_URL = "redis://:hunter2@127.0.0.1:1/0"
    [found] = doctor.broker()
    assert found.state is State.FAULT
    assert "hunter2" not in found.line()


def test_clocks_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 90)
    told = [each.told for each in doctor.database() if each.state is State.FAULT]
    assert told == ["its clock is -90 s from ours"]


def test_another_release_on_the_database_is_told() -> None:
    import psycopg  # noqa: PLC0415

    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, application_name="counterpoint 9.9.9"):
        [found] = [each for each in doctor.database() if each.state is State.WARNING]
    assert "9.9.9" in found.told


def test_a_database_of_a_newer_release_is_a_fault() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('runs', '9999_x', now())"
        )
    told = [each.told for each in doctor.database() if each.state is State.FAULT]
    assert told == ["the database is of a newer release (runs.9999_x)"]


def test_a_full_disk_and_a_read_only_one_are_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.DISK_RESERVE_BYTES = 2**60
    [found] = doctor.home()
    assert "The disk is full" in found.hint
    settings.HOME = tmp_path / "nowhere"
    [found] = doctor.home()
    assert found.state is State.FAULT
    assert "cannot be written" in found.told


def test_a_backup_that_is_too_old_is_a_fault(settings: Settings, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    assert states(list(doctor.backups())) == {State.WARNING}
    (tmp_path / "last-success").mkdir()
    last = tmp_path / "last-success" / "backup.json"
    for hours, state in ((1, State.OK), (48, State.FAULT)):
        last.write_text(json.dumps({"at": time.time() - hours * 3600, "seconds": 3}))
        assert states(list(doctor.backups())) == {state}


# ---- the way in ----------------------------------------------------------------------------------


class Site(BaseHTTPRequestHandler):
    """A site behind a proxy that may hold streams back."""

    holds_back = False
    ready = 200

    def do_GET(self) -> None:
        is_stream = self.path == "/streamz"
        self.send_response(200 if is_stream else self.ready)
        self.end_headers()
        pieces = [b"one", b"two", b"three"] if is_stream else [b"{}"]
        for piece in [b"".join(pieces)] if self.holds_back else pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(0.1 if is_stream else 0)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def serving(context: ssl.SSLContext | None = None, **how: object) -> Iterator[str]:
    handler = type("Site", (Site,), how)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_streams_that_flow_and_streams_that_are_held_back() -> None:
    with serving() as address:
        assert states(list(doctor.website(address))) == {State.OK}
    with serving(holds_back=True) as address:
        told = [each for each in doctor.website(address) if each.state is State.FAULT]
    assert "held back" in told[0].told
    assert "buffering" in told[0].hint


def test_a_site_that_is_not_ready_and_one_that_is_not_there() -> None:
    with serving(ready=503) as address:
        assert states(list(doctor.website(address))) == {State.FAULT}
    [found] = doctor.website("http://127.0.0.1:1")
    assert "does not answer" in found.told


def certificate(folder: Path, *, ends: timedelta) -> ssl.SSLContext:
    """A server's context, with a certificate for the loopback that ends then."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(
    ("days", "state", "told"),
    [(300, State.OK, "ends in"), (5, State.WARNING, "ends in"), (-1, State.FAULT, "expired")],
)
def test_a_certificate_that_ends_soon_or_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, state: State, told: str
) -> None:
    context = certificate(tmp_path, ends=timedelta(days=days))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with serving(context) as address:
        [found] = doctor.certificate(address.replace("127.0.0.1", "localhost"))
    assert found.state is state
    assert told in found.told


# ---- the way out ---------------------------------------------------------------------------------


def test_an_address_outside_must_not_answer() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        [open_road] = doctor.no_road_out(f"127.0.0.1:{port}")
    assert open_road.state is State.FAULT
    [shut] = doctor.no_road_out(f"127.0.0.1:{port}")
    assert shut.state is State.OK
    [wrong] = doctor.no_road_out("nonsense")
    assert wrong.state is State.FAULT
    [unasked] = doctor.no_road_out("")
    assert unasked.state is State.SKIPPED


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(doctor, "broker", broken)
    [found] = about(doctor.examine(site="http://127.0.0.1:1"), "broker")
    assert found.told == "could not be examined (RuntimeError)"


def test_the_command_ends_with_one_when_something_is_wrong() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "counterpoint.operate", "doctor", "--site", "http://127.0.0.1:1"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "fault    site         http://127.0.0.1:1 does not answer" in done.stdout
    assert "faults." in done.stdout.splitlines()[-1]
