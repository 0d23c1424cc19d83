"""A machine with nothing on it but the product, on which commands are given."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from django.conf import settings

BACKUP_KEY = base64.b64encode(bytes(range(32))).decode()
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def empty_machine(home: Path) -> Iterator[Run]:
    """A home folder and a database with nothing in them, and the keys that were kept apart."""
    owner = urlsplit(os.environ["DATABASE_OWNER_URL"])
    runtime = urlsplit(os.environ["DATABASE_URL"])
    name = f"restored_{uuid4().hex[:8]}"
    with psycopg.connect(owner._replace(path="/postgres").geturl(), autocommit=True) as maker:
        maker.execute(f"CREATE DATABASE {name}")
        there = os.environ | {
            "COUNTERPOINT_HOME": str(home),
            "DATABASE_URL": runtime._replace(path=f"/{name}").geturl(),
            "DATABASE_OWNER_URL": owner._replace(path=f"/{name}").geturl(),
            "REDIS_URL": settings.REDIS_URL,
            "AUDIT_KEY": settings.AUDIT_KEY,
            "SITE_KEY": settings.SITE_KEY,
            "BACKUP_KEY": BACKUP_KEY,
            "COUNTERPOINT_SERVE_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

        def run(*words: str, **changed: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "counterpoint.operate", *words],
                env=there | changed,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )

        yield run
        maker.execute(f"DROP DATABASE {name} WITH (FORCE)")
