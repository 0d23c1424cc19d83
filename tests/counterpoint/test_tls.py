"""Engines spoken to by TLS under a private authority, through a front of TLS before the real ones.

The embedded engines speak none themselves. The front answers PostgreSQL's request for TLS as a
server does, and hands the rest on.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.counterpoint.operate.test_doctor import certificate
from tests.waiting import PATIENCE

WANTS_TLS = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")  # PostgreSQL: SSLRequest
SCRIPT = """
import json, django; django.setup()
from django.db import connection
from counterpoint.celery import app
import redis
from django.conf import settings
told = {}
try:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        told["database"] = cursor.fetchone()[0]
except Exception as error:
    told["database"] = type(error).__name__
try:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        told["broker"] = client.ping()
    with app.connection_for_write() as kombu:
        kombu.ensure_connection(max_retries=1)
        told["celery"] = kombu.connected
except Exception as error:
    told["broker"] = type(error).__name__
print(json.dumps(told))
"""


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def carry(client: socket.socket, context: ssl.SSLContext, to: tuple[str, int]) -> None:
    with suppress(OSError), client:
        if client.recv(8, socket.MSG_PEEK) == WANTS_TLS:
            client.recv(8)
            client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as inside,
            socket.create_connection(to) as engine,
        ):
            back = threading.Thread(target=pump, args=(engine, inside))
            back.start()
            pump(inside, engine)
            back.join()


@contextmanager
def front(context: ssl.SSLContext, url: str) -> Iterator[str]:
    """The same address behind TLS, by the name `localhost` that the certificate is for."""
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = (str(parts.hostname), int(parts.port or 0))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    words = (client, context, to)
                    threading.Thread(target=carry, args=words, daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        port = listener.getsockname()[1]
        login = parts.netloc.rpartition("@")[0]
        yield parts._replace(netloc=f"{login}@localhost:{port}").geturl()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def asked(database: str, broker: str, **settings: str) -> dict[str, object]:
    """What a process of ours with these addresses finds."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "DATABASE_URL": database, "REDIS_URL": broker}
        | settings,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def addresses(db: None, tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """Database and broker behind TLS, and the file of the authority."""
    context = certificate(tmp_path, ends=timedelta(days=30))
    broker = os.environ["REDIS_URL"]
    with front(context, os.environ["DATABASE_URL"]) as database, front(context, broker) as redis:
        yield database, redis.replace("redis://", "rediss://"), str(tmp_path / "cert.pem")


def test_both_engines_answer_under_the_private_authority(addresses: tuple[str, str, str]) -> None:
    database, broker, authority = addresses
    tls = {"DATABASE_TLS": "verify-full", "DATABASE_CA_FILE": authority}
    found = asked(database, broker, REDIS_CA_FILE=authority, **tls)
    assert found == {"database": "app_rw", "broker": True, "celery": True}


def test_an_unknown_authority_is_refused_by_both(addresses: tuple[str, str, str]) -> None:
    database, broker, _ = addresses
    found = asked(database, broker, DATABASE_TLS="verify-full")
    assert found == {"database": "OperationalError", "broker": "ConnectionError"}


def test_a_name_that_the_certificate_lacks_is_refused(addresses: tuple[str, str, str]) -> None:
    database, broker, authority = (each.replace("@localhost", "@127.0.0.1") for each in addresses)
    tls = {"DATABASE_TLS": "verify-full", "DATABASE_CA_FILE": authority}
    found = asked(database, broker, REDIS_CA_FILE=authority, **tls)
    assert found == {"database": "OperationalError", "broker": "ConnectionError"}
