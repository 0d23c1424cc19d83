"""A planted sentence, a key and a password: none of them comes out in logs, figures or archive."""

from __future__ import annotations

import io
import json
import logging
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from django.conf import settings as configured
from django.urls import reverse
from prometheus_client import REGISTRY, generate_latest
from pytest_django import Settings

from apps.operate.state import State
from apps.operate.support import kept
from counterpoint.operate.cli import main
from tests.cast import Cast

SENTENCE = "The Zephyrine margin is eleven percent"
KEY = "cp_0a1b2c3d4e5f_abcdefghijklmnop"


def unpacked(path: Path) -> str:
    with tarfile.open(path) as archive:
        found = [archive.extractfile(each) for each in archive.getmembers()]
        return "\n".join(each.read().decode() for each in found if each is not None)


def test_only_known_fields_of_our_own_lines_are_kept() -> None:
    ours = {"event": "run.reaped", "level": "warning", "count": 2, "reason": SENTENCE, "run": "r-1"}
    assert kept(json.dumps(ours)) == {
        "event": "run.reaped",
        "level": "warning",
        "count": 2,
        "run": "r-1",
    }
    assert kept(json.dumps({"event": SENTENCE})) is None
    assert kept(f"Traceback: {SENTENCE}") is None
    assert kept(json.dumps({"event": "a.b", "run": f"{SENTENCE} {'x' * 120}"})) == {
        "event": "a.b",
        "run": "[hidden]",
    }


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the log would say to standard error."""
    [handler] = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    found = io.StringIO()
    before = handler.setStream(found)
    yield found
    handler.setStream(before or sys.stderr)


@pytest.mark.django_db(transaction=True)
def test_the_planted_sentence_is_nowhere(
    cast: Cast,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: io.StringIO,
) -> None:
    """It is uploaded, searched for, sent to the API and thrown by an error; then we look for it."""
    monkeypatch.setenv("DATABASE_PASSWORD_OF_SOMEBODY", "hunter2")
    logging.getLogger().setLevel("DEBUG")
    client = cast.client(cast.ada)
    client.post(reverse("corpora:new"), {"name": SENTENCE})
    client.get("/corpora/", {"q": SENTENCE})
    client.get(f"/nowhere/{SENTENCE}")
    client.post(
        "/v1/chat/completions",
        {"model": SENTENCE, "messages": [{"role": "user", "content": SENTENCE}]},
        content_type="application/json",
        headers={"Authorization": f"Bearer {KEY}"},
    )
    structlog.get_logger("t").warning("chat.asked", prompt=SENTENCE, text=SENTENCE, key=KEY)
    logging.getLogger().setLevel("WARNING")
    told = lines.getvalue()
    assert "chat.asked" in told
    assert SENTENCE not in told.replace("+", " ").replace("%20", " ")
    assert KEY not in told

    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "web.log").write_text(f"{told}\nValueError: {SENTENCE} {KEY}\n")
    settings.HOME = tmp_path
    assert main(["support", "--to", str(tmp_path / "out.tar.gz")]) == 0
    everything = unpacked(tmp_path / "out.tar.gz")
    assert "chat.asked" in everything
    assert "support.left_out" in everything
    for secret in (SENTENCE, KEY, "hunter2", configured.SECRET_KEY, configured.AUDIT_KEY):
        assert secret not in everything
    assert configured.DATABASES["default"]["PASSWORD"] not in everything
    assert cast.ada.email not in everything

    told = [str(sample) for metric in State().collect() for sample in metric.samples]
    told += generate_latest(REGISTRY).decode().splitlines()
    assert not any(SENTENCE in line.replace("+", " ").replace("%20", " ") for line in told)
    # One figure alone names tenants, and by their ids.
    naming = [line for line in told if str(cast.north.pk) in line]
    assert all(line.startswith("counterpoint_tenant_requests_") for line in naming)
    assert main(["support", "--to", str(tmp_path / "out.tar.gz")]) == 2


def test_an_archive_is_for_its_owner_alone(db: None, tmp_path: Path, settings: Settings) -> None:
    settings.HOME = tmp_path
    assert main(["support", "--to", str(tmp_path / "out.tar.gz")]) == 0
    assert (tmp_path / "out.tar.gz").stat().st_mode & 0o077 == 0
    assert io.BytesIO((tmp_path / "out.tar.gz").read_bytes()).read(2) == b"\x1f\x8b"
