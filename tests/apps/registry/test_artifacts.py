"""Files of the registry: taken in once, under the digest of their bytes, and proved again."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.registry import artifacts
from apps.registry.actions import import_anchor
from apps.registry.models import Anchor
from apps.tenants.scope import tenant_scope
from calm_engine.digests import write_manifest
from calm_engine.errors import InputError
from calm_engine.specs import Outcome
from counterpoint.storage import blobs
from tests.cast import Cast


def made(folder: Path) -> Outcome:
    """A folder that looks like an anchor."""
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return Outcome("anchor", str(folder), write_manifest(folder), facts={"name": "Tiny"})


def test_an_anchor_brought_in_twice_is_one(cast: Cast, tmp_path: Path) -> None:
    with tenant_scope(cast.north):
        first = import_anchor(made(tmp_path / "one"), by=cast.ada)
        assert import_anchor(made(tmp_path / "two"), by=cast.ada) == first
        artifacts.verify(first)
        assert [(file.name, file.size) for file in artifacts.files(first)][-1:] == [
            ("model.safetensors", 7)
        ]


def test_a_folder_of_another_digest_is_refused(cast: Cast, tmp_path: Path) -> None:
    outcome = made(tmp_path / "one")
    (tmp_path / "one" / "model.safetensors").write_bytes(b"other weights")
    with tenant_scope(cast.north):
        with pytest.raises(InputError, match=r"artifact\.digest"):
            import_anchor(outcome, by=cast.ada)
        assert not Anchor.objects.exists()
    assert (tmp_path / "one").exists()


def test_a_changed_byte_is_found(cast: Cast, tmp_path: Path) -> None:
    with tenant_scope(cast.north):
        anchor = import_anchor(made(tmp_path / "one"), by=cast.ada)
        (artifacts.path(anchor) / "model.safetensors").write_bytes(b"tampered")
        with pytest.raises(InputError, match=r"artifact\.digest"):
            artifacts.verify(anchor)


def test_a_row_whose_folder_is_gone_shows_no_files(cast: Cast, tmp_path: Path) -> None:
    with tenant_scope(cast.north):
        anchor = import_anchor(made(tmp_path / "one"), by=cast.ada)
        blobs().delete("anchor", anchor.digest)
        assert artifacts.files(anchor) == []


def test_a_worker_that_died_between_rename_and_row_adopts_again(cast: Cast, tmp_path: Path) -> None:
    outcome = made(tmp_path / "one")
    with tenant_scope(cast.north):
        first = artifacts.adopt("augmenter", tmp_path / "one", outcome.digest)
        assert artifacts.adopt("augmenter", tmp_path / "one", outcome.digest) == first
