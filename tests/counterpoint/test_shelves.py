"""Shelves: what runs leave of corpora is found again, sealed, and goes with them or with time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.tenants.scope import tenant_scope
from counterpoint import keys, resealing, sealedfiles
from counterpoint.shelves import EVERY, SHARDS, STUDIES, Shelves, shelf_of
from tests.cast import Cast

DAY = 86_400.0


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, settings: Settings) -> Iterator[None]:
    settings.HOME = tmp_path / "home"
    keys.forget()
    yield
    keys.forget()


def left(tmp_path: Path, **files: str) -> Path:
    """A folder as a run leaves it."""
    folder = tmp_path / "left"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.kind)
def test_what_was_kept_is_brought_again_and_lies_sealed(
    cast: Cast, tmp_path: Path, kind: Shelves
) -> None:
    with tenant_scope(cast.north):
        kind.keep("a/b", left(tmp_path, one="words"))
        assert not (tmp_path / "left").exists()
        [(path, name)] = kind.standing()
        assert name == "a/b/one.jsonl"
        assert sealedfiles.key_version(path) is not None
        assert kind.holds("a/b", "one.jsonl")
        assert list(kind.lines("a/b", 100)) == [b"words"]
        kind.bring("a/b", tmp_path / "again")
        assert (tmp_path / "again" / "one.jsonl").read_text() == "words"


def test_a_shelf_of_several_corpora_gets_the_newest_key(cast: Cast, tmp_path: Path) -> None:
    with tenant_scope(cast.north):
        SHARDS.keep("a/b/c", left(tmp_path, one="words"))
        [(path, _)] = SHARDS.standing()
        first = sealedfiles.key_version(path)
        keys.rotate_data_key()
        keys.forget()
        resealing.reseal(tmp_path / "home")
        assert sealedfiles.key_version(path) != first
        assert list(SHARDS.lines("a/b/c", 100)) == [b"words"]


def test_what_never_changes_is_not_written_again_and_the_rest_is(
    cast: Cast, tmp_path: Path
) -> None:
    with tenant_scope(cast.north):
        for kind, said in ((SHARDS, b"old"), (STUDIES, b"new")):
            kind.keep("a", left(tmp_path, one="old"))
            kind.keep("a", left(tmp_path, one="new"))
            assert list(kind.lines("a", 100)) == [said]


def test_what_does_not_open_is_left_out(cast: Cast, tmp_path: Path) -> None:
    with tenant_scope(cast.north):
        SHARDS.keep("a", left(tmp_path, one="words", two="more"))
        path = SHARDS.folder_of("a") / "one.jsonl.sealed"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert list(SHARDS.lines("a", 100)) == [b"more"]
        SHARDS.bring("a", tmp_path / "again")
        assert [each.name for each in (tmp_path / "again").iterdir()] == ["two.jsonl"]


def test_a_corpus_that_is_forgotten_takes_every_shelf_along_that_it_stands_on(
    cast: Cast, tmp_path: Path
) -> None:
    with tenant_scope(cast.north):
        for shelf in ("a", "b", "a/b", "c/b"):
            SHARDS.keep(shelf, left(tmp_path, one="words"))
        SHARDS.drop("b")
        assert [name for _, name in SHARDS.standing()] == ["a/one.jsonl"]


def test_what_nobody_has_used_for_long_goes(cast: Cast, tmp_path: Path) -> None:
    with tenant_scope(cast.north):
        for shelf in ("used", "unused"):
            SHARDS.keep(shelf, left(tmp_path, one="words"))
            long_ago = time.time() - 15 * DAY
            os.utime(SHARDS.folder_of(shelf), (long_ago, long_ago))
        SHARDS.bring("used", tmp_path / "again")
        SHARDS.lapse(14)
        assert [name for _, name in SHARDS.standing()] == ["used/one.jsonl"]


def test_shelves_are_named_by_their_corpora(cast: Cast) -> None:
    assert shelf_of([cast.north.pk, cast.south.pk]) == f"{cast.north.pk}/{cast.south.pk}"
