"""What would do harm is refused by name before a process serves: other keys, a newer database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from counterpoint import checks, installed_keys

Told = Callable[[], str]


@pytest.fixture
def start(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Begin to serve, from a home folder of its own; what it was refused with, or nothing."""
    settings.HOME = tmp_path

    def look() -> str:
        try:
            checks.refuse_a_dangerous_start()
        except SystemExit as ended:
            code = ended.code
        else:
            code = 0
        said = capsys.readouterr().err
        assert code == (78 if said else 0)  # 78: a supervisor need not try again
        return said

    return look


@pytest.mark.django_db
@pytest.mark.parametrize("name", installed_keys.NAMES)
def test_another_key_than_yesterdays_is_refused_until_it_is_the_former_again(
    start: Told, settings: Settings, name: str
) -> None:
    former = getattr(settings, name)
    assert start() == ""
    other = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    setattr(settings, name, other)
    said = start()
    assert f"counterpoint.E006: {name} is not the key" in said
    assert other not in said
    setattr(settings, name, former)
    assert start() == ""


@pytest.mark.django_db
def test_a_newer_key_beside_the_former_is_no_other(start: Told, settings: Settings) -> None:
    assert start() == ""
    settings.SITE_KEY = f"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n{settings.SITE_KEY}"
    assert start() == ""


@pytest.mark.django_db
def test_a_database_of_a_newer_release_is_refused(start: Told) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('runs', '9999_x', now())"
        )
    said = start()
    assert "counterpoint.E008" in said
    assert "runs.9999_x" in said


@pytest.mark.django_db
def test_half_a_restore_is_refused(start: Told, tmp_path: Path) -> None:
    (tmp_path / checks.UNFINISHED).write_text(json.dumps("20261122T000000Z"))
    assert "counterpoint.E007" in start()
