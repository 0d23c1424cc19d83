"""Files by digest: whole or absent, one tenant's own, and a full disk that says so."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from calm_engine.errors import InputError, InternalError
from counterpoint.database import current_tenant_id
from counterpoint.disk import disk_full_is_told
from counterpoint.storage import Blobs, blobs, run_folder
from tests.cast import Cast

TEXT = b"The gauge of Tarn Lake reads 7 mm."
DIGEST = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def store(cast: Cast, tmp_path: Path, settings: Settings) -> Iterator[Blobs]:
    settings.HOME = tmp_path
    token = current_tenant_id.set(cast.north.pk)
    yield blobs()
    current_tenant_id.reset(token)


def test_what_is_put_is_found_under_its_digest(store: Blobs) -> None:
    stored = store.put("original", SimpleUploadedFile("gauge.txt", TEXT))
    assert (stored.digest, stored.size) == (DIGEST, len(TEXT))
    assert store.exists("original", DIGEST)
    assert not store.exists("text", DIGEST)
    with store.open("original", DIGEST) as file:
        assert file.read() == TEXT
    assert store.path("original", DIGEST).stat().st_mode & 0o077 == 0


def test_the_same_bytes_twice_are_one_file(store: Blobs) -> None:
    for _ in range(2):
        store.put("original", io.BytesIO(TEXT))
    assert [each.name for each in (store.root / "original").iterdir()] == [DIGEST]


def test_a_stream_that_breaks_leaves_nothing(store: Blobs) -> None:
    class Broken:
        size = 10

        def chunks(self) -> Iterator[bytes]:
            yield b"half"
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put("original", Broken())
    assert list((store.root / "original").iterdir()) == []


def test_another_tenant_finds_nothing(store: Blobs) -> None:
    store.put("original", TEXT)
    token = current_tenant_id.set(uuid.uuid4())
    assert not blobs().exists("original", DIGEST)
    with pytest.raises(InternalError, match=r"blob\.missing"):
        blobs().open("original", DIGEST)
    current_tenant_id.reset(token)


def test_outside_a_tenant_there_are_no_files() -> None:
    with pytest.raises(InternalError, match=r"blob\.no_tenant"):
        blobs()


@pytest.mark.parametrize("name", ["../../secret-key", "A" * 64, "", "ab" * 31 + "/."])
def test_only_a_digest_becomes_part_of_a_path(store: Blobs, name: str) -> None:
    with pytest.raises(InternalError, match=r"blob\.digest"):
        store.path("original", name)


def test_a_finished_folder_is_adopted_once(store: Blobs, tmp_path: Path) -> None:
    for _ in range(2):
        folder = tmp_path / "finished"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(TEXT)
        adopted = store.adopt_folder("augmenter", folder, DIGEST)
        assert not folder.exists()
    assert store.folder("augmenter", DIGEST) == adopted
    assert (adopted / "model.safetensors").read_bytes() == TEXT
    store.delete("augmenter", DIGEST)
    assert not store.exists("augmenter", DIGEST)


def test_a_disk_without_room_refuses_before_accepting(store: Blobs, settings: Settings) -> None:
    settings.DISK_RESERVE_BYTES = 1 << 60
    with pytest.raises(InputError) as refused:
        store.put("original", SimpleUploadedFile("gauge.txt", TEXT))
    assert refused.value.code == "disk.full"
    assert refused.value.facts["need"] == len(TEXT)
    assert list((store.root / "original").iterdir()) == []


def test_a_disk_that_fills_while_writing_is_told_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"disk\.full"), disk_full_is_told(tmp_path):
        Path("/dev/full").write_bytes(TEXT)  # the kernel's own full disk


def test_a_run_has_a_folder_of_its_tenant(store: Blobs, tmp_path: Path) -> None:
    run = uuid.uuid4()
    assert run_folder(run) == tmp_path / "runs" / store.root.name / str(run)
    assert run_folder(run).is_dir()
