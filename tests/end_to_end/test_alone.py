"""The whole road where there is no network: a loopback, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOOK = """
import socket
with socket.create_server(("127.0.0.1", 0)) as here:
    socket.create_connection(here.getsockname()).close()
try:
    socket.getaddrinfo("huggingface.co", 443)
except OSError:
    print("no name, no road")
"""


def alone(*command: str) -> subprocess.CompletedProcess[str]:
    engines = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "COUNTERPOINT_HOME")
    clean = {name: value for name, value in os.environ.items() if name not in engines}
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / "alone.py"), sys.executable, *command],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow  # wants a machine on which namespaces may be made
def test_alone_there_is_a_loopback_and_no_road() -> None:
    done = alone("-c", LOOK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "no name, no road"


@pytest.mark.slow
def test_a_document_becomes_an_answer_without_a_network() -> None:
    """Engines, worker and model server are started inside, and reach each other alone."""
    road = "tests/end_to_end/test_upload_to_chat.py"
    done = alone("-m", "pytest", "-q", "-p", "no:cacheprovider", road)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
