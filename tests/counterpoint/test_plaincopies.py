"""A plain copy lives as long as its user; one whose user was killed is swept, and no other."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pytest_django import Settings

from counterpoint import plaincopies
from counterpoint.plaincopies import plain_copy, sweep

TENANT = UUID(int=7)
WORDS = b"The heron ledger closes at eleven."
# Another process makes a copy, says so, and waits to be killed.
USER = f"""
import io, sys, time
import django
django.setup()
from counterpoint.plaincopies import plain_copy
with plain_copy(io.BytesIO({WORDS!r}), {str(TENANT)!r}) as copy:
    print(copy, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _home(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HOME = tmp_path
    monkeypatch.setattr(plaincopies, "YOUNG", -1.0)  # or the test would take a minute


def test_a_copy_lies_under_its_tenant_alone_and_goes_with_its_user(tmp_path: Path) -> None:
    with plain_copy(io.BytesIO(WORDS), TENANT) as copy:
        assert copy.read_bytes() == WORDS
        assert copy.parent.parent == tmp_path / "plain" / str(TENANT)
        assert (copy.stat().st_mode & 0o77, copy.parent.stat().st_mode & 0o77) == (0, 0)
        (copy.parent / "unpacked").write_bytes(WORDS)
    assert list(copy.parent.parent.iterdir()) == []


def test_a_copy_goes_when_its_reader_fails() -> None:
    with pytest.raises(ZeroDivisionError), plain_copy(io.BytesIO(WORDS), TENANT) as copy:
        _ = 1 / 0
    assert not copy.exists()


def test_what_a_killed_user_left_is_swept_and_what_is_in_use_stays(tmp_path: Path) -> None:
    with (
        plain_copy(io.BytesIO(WORDS), uuid4()) as ours,
        subprocess.Popen(
            [sys.executable, "-c", USER],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"COUNTERPOINT_HOME": str(tmp_path)},
        ) as other,
    ):
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        assert theirs.read_bytes() == WORDS
        assert sweep() == 0
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert theirs.exists()  # nobody could clean up
        assert sweep() == 1
        assert not theirs.parent.exists()
        assert ours.read_bytes() == WORDS


def test_a_folder_without_a_copy_is_swept_and_a_young_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "plain" / str(TENANT) / "left"
    left.mkdir(parents=True)
    monkeypatch.setattr(plaincopies, "YOUNG", 60.0)
    assert sweep() == 0
    monkeypatch.setattr(plaincopies, "YOUNG", -1.0)
    assert sweep() == 1
    assert not left.exists()
