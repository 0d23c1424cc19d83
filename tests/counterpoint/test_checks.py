"""What a wrong or dangerous setting is answered with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from calm_engine.errors import InputError
from counterpoint import checks, env
from counterpoint.embedded.supervisor import SUPERUSER
from counterpoint.env import home_folder
from tests.waiting import PATIENCE


def superuser() -> dict[str, str]:
    passwords = json.loads((home_folder() / "engine-passwords.json").read_text())
    return {"USER": SUPERUSER, "PASSWORD": passwords[SUPERUSER]}


@contextmanager
def login(**settings: str) -> Iterator[BaseDatabaseWrapper]:
    """The tests' database, through another login."""
    other = connection.copy()
    other.settings_dict |= settings
    try:
        yield other
    finally:
        other.close()


@pytest.mark.django_db
def test_the_runtime_login_is_harmless() -> None:
    assert checks.role_is_harmless(connection) == []


@pytest.mark.django_db
def test_the_owners_login_is_refused() -> None:
    owner = connections["owner"].settings_dict
    with login(USER=owner["USER"], PASSWORD=owner["PASSWORD"]) as other:
        assert [each.id for each in checks.role_is_harmless(other)] == ["counterpoint.E003"]


@pytest.mark.django_db
def test_a_superusers_login_is_refused() -> None:
    with login(**superuser()) as other:
        found = [each.id for each in checks.role_is_harmless(other)]
    assert found == ["counterpoint.E001", "counterpoint.E002"]


@pytest.mark.django_db
def test_a_login_that_bypasses_row_security_is_refused() -> None:
    passwords = json.loads((home_folder() / "engine-passwords.json").read_text())
    with login(USER="app_backup", PASSWORD=passwords["app_backup"]) as other:
        assert [each.id for each in checks.role_is_harmless(other)] == ["counterpoint.E002"]


@pytest.mark.django_db
def test_the_web_does_not_start_as_owner() -> None:
    done = run_web(DATABASE_URL=os.environ["DATABASE_OWNER_URL"])
    assert done.returncode == 78
    assert "counterpoint.E003" in done.stderr
    assert "app_rw" in done.stderr


@pytest.mark.django_db
def test_the_web_starts_as_the_runtime_role() -> None:
    assert run_web().returncode == 0


@pytest.mark.django_db
def test_a_worker_does_not_start_as_owner(tmp_path: Path) -> None:
    schedule = ["--schedule", str(tmp_path / "beat")]  # celery removes a file that it cannot read
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "counterpoint", "beat", *schedule],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path)}
        | {"DATABASE_URL": os.environ["DATABASE_OWNER_URL"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 78
    assert "counterpoint.E003" in done.stderr


def test_without_engines_the_web_says_what_to_set() -> None:
    done = run_web(COUNTERPOINT_EMBEDDED="never", REDIS_URL="")
    assert done.returncode == 78
    assert "counterpoint.E004" in done.stderr


def test_a_wrong_setting_stops_the_start_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env=os.environ | {"RUN_LEASE_SECONDS": "soon"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "setting.value: RUN_LEASE_SECONDS is 'soon'; it should be a whole number."
    )


def run_web(**settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import counterpoint.asgi"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_setting_is_read_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_NUMBER", "12")
    monkeypatch.setenv("A_FLAG", "Yes")
    monkeypatch.setenv("A_WORD", "blue")
    assert env.number("A_NUMBER", 1) == 12
    assert env.number("ABSENT", 7) == 7
    assert env.flag("A_FLAG", default=False)
    assert env.text("A_WORD", among=("blue", "red")) == "blue"
    with pytest.raises(InputError, match="between 20 and 30"):
        env.number("A_NUMBER", 25, least=20, most=30)
    with pytest.raises(InputError, match="yes or no"):
        env.flag("A_WORD", default=True)
    with pytest.raises(InputError, match="one of green, red"):
        env.text("A_WORD", among=("green", "red"))


def test_a_secret_comes_by_name_or_by_file_and_never_enters_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    path = env.Path(str(tmp_path)) / "secret"
    path.write_text("from a file\n")
    monkeypatch.setenv("A_SECRET_FILE", str(path))
    assert env.secret("A_SECRET") == "from a file"
    monkeypatch.setenv("A_SECRET", "by name")
    assert env.secret("A_SECRET") == "by name"
    with pytest.raises(InputError) as refused:
        env.database("DATABASE_URL", "mysql://me:hidden@there/db")
    assert "hidden" not in str(refused.value)


def test_a_kept_secret_is_made_once_and_closed_to_others() -> None:
    path = env.internal_secret()
    first = path.read_text()
    assert len(first) >= 40
    assert env.internal_secret().read_text() == first
    assert path.stat().st_mode & 0o077 == 0
