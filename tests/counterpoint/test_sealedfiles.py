"""Stored files are sealed: they open for their tenant, in their place, and for nobody else."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.tenants.scope import tenant_scope
from calm_engine.errors import InternalError
from counterpoint import keys, resealing, sealedfiles
from counterpoint.sealedfiles import FRAME, HEAD
from counterpoint.storage import SUFFIX, Blobs, blobs
from tests.cast import Cast

TEXT = b"The gauge of Tarn Lake reads 7 mm."
STEP = FRAME + 16


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    keys.forget()
    yield
    keys.forget()


@pytest.fixture
def store(cast: Cast, tmp_path: Path, settings: Settings) -> Iterator[Blobs]:
    settings.HOME = tmp_path
    with tenant_scope(cast.north):
        yield blobs()


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME])
def test_any_size_comes_back_and_lies_sealed(store: Blobs, size: int) -> None:
    plain = secrets.token_bytes(size)
    stored = store.put("original", plain)
    path = store.path("original", stored.digest)
    assert stored.digest == path.name == hashlib.sha256(plain).hexdigest()
    assert size < 8 or plain[:8] not in path.read_bytes()
    with store.open("original", stored.digest) as file:
        assert file.read() == plain
        assert file.seek(max(0, size - 5)) == max(0, size - 5)
        assert file.read() == plain[-5:]
    store.prove("original", stored.digest)


@pytest.mark.parametrize("harm", ["flip", "head", "cut", "swap", "other file", "other kind"])
def test_what_was_harmed_is_refused_by_name(store: Blobs, harm: str) -> None:
    digest = store.put("original", bytes(2 * FRAME + 9)).digest
    other = store.put("original", secrets.token_bytes(2 * FRAME + 9)).digest
    path = store.path("original", digest)
    raw = bytearray(path.read_bytes())
    if harm == "flip":
        raw[HEAD + 5] ^= 1
    elif harm == "head":
        raw[3] ^= 1
    elif harm == "cut":
        del raw[HEAD + 2 * STEP :]
    elif harm == "swap":
        raw[HEAD:] = raw[HEAD + STEP :][:STEP] + raw[HEAD:][:STEP] + raw[HEAD + 2 * STEP :]
    path.write_bytes(bytes(raw))
    if harm == "other file":
        shutil.copyfile(store.path("original", other), path)
    kind = "original"
    if harm == "other kind":
        kind = "text"
        shutil.copyfile(path, store.kind_folder(kind) / digest)
    with pytest.raises(InternalError, match=r"blob\.damaged"), store.open(kind, digest) as file:
        file.read()
    assert not store.is_whole(kind, digest)


def test_a_damaged_file_is_whole_again_when_its_bytes_come_again(store: Blobs) -> None:
    digest = store.put("text", TEXT).digest
    store.path("text", digest).write_bytes(b"rubbish")
    store.put("text", TEXT)
    store.prove("text", digest)


def test_another_tenants_file_and_a_shredded_key_open_nothing(cast: Cast, store: Blobs) -> None:
    digest = store.put("text", TEXT).digest
    with tenant_scope(cast.south):
        theirs = blobs()
        shutil.copyfile(store.path("text", digest), theirs.kind_folder("text") / digest)
        with pytest.raises(InternalError, match=r"blob\.damaged"):
            theirs.open("text", digest)
    keys.shred()
    with pytest.raises(InternalError, match=r"key\.gone"):
        store.open("text", digest)


def test_a_plain_file_of_an_older_release_opens_once_it_proved_itself(store: Blobs) -> None:
    digest = hashlib.sha256(TEXT).hexdigest()
    path = store.kind_folder("text") / digest
    path.write_bytes(TEXT)
    with store.open("text", digest) as file:
        assert file.read() == TEXT
    path.write_bytes(TEXT + b" Or 8.")
    with pytest.raises(InternalError, match=r"blob\.damaged"):
        store.open("text", digest)


def test_an_adopted_folder_that_quotes_documents_is_sealed(store: Blobs, tmp_path: Path) -> None:
    folder = tmp_path / "finished"
    folder.mkdir()
    (folder / "items.jsonl").write_bytes(TEXT)
    adopted = store.adopt_folder("report", folder, "a" * 64)
    assert [each.name for each in adopted.iterdir()] == [f"items.jsonl{SUFFIX}"]
    with store.open_within("report", "a" * 64, "items.jsonl") as file:
        assert file.read() == TEXT
    with pytest.raises(InternalError, match=r"blob\.missing"):
        store.open_within("report", "a" * 64, "other.jsonl")


# ---- sealing again -------------------------------------------------------------------------------


def versions(store: Blobs) -> set[int | None]:
    found = [
        path
        for kind in ("original", "text", "report")
        for path in store.kind_folder(kind).rglob("*")
    ]
    return {sealedfiles.key_version(path) for path in found if path.is_file()}


def test_resealing_takes_older_keys_and_plain_files_and_is_done_once(
    store: Blobs, tmp_path: Path
) -> None:
    old = store.put("original", TEXT * 9000).digest
    left = hashlib.sha256(TEXT).hexdigest()
    (store.kind_folder("text") / left).write_bytes(TEXT)
    report = store.kind_folder("report") / ("a" * 64)
    report.mkdir()
    (report / "items.jsonl").write_bytes(TEXT)
    keys.rotate_data_key()
    keys.forget()
    reader = store.open("original", old)
    assert reader.read(5) == TEXT[:5]
    assert resealing.reseal(tmp_path) == resealing.Resealed(3, 0, [])
    assert resealing.reseal(tmp_path) == resealing.Resealed(0, 3, [])
    assert versions(store) == {2}
    assert reader.read() == (TEXT * 9000)[5:]  # who had the old file open reads on
    reader.close()
    store.prove("original", old)
    store.prove("text", left)
    with store.open_within("report", "a" * 64, "items.jsonl") as file:
        assert file.read() == TEXT


def test_resealing_goes_on_after_a_kill_and_brings_nothing_back(
    store: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [store.put("text", bytes([each])).digest for each in range(6)]
    keys.rotate_data_key()
    keys.forget()
    whole, calls = resealing.replace, iter(range(3))

    def dies(*told: object, **named: object) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        whole(*told, **named)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(resealing, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        resealing.reseal(tmp_path)
    assert versions(store) == {1, 2}
    monkeypatch.setattr(resealing, "replace", whole)
    assert resealing.reseal(tmp_path) == resealing.Resealed(3, 3, [])
    path = store.path("text", digests[0])
    with store.open("text", digests[0]) as file:
        path.unlink()
        with pytest.raises(FileNotFoundError):
            resealing.replace(path, file, kind="text", name=digests[0])
    assert [each.name for each in store.kind_folder("text").iterdir()].count(digests[0]) == 0
    assert len(list(store.kind_folder("text").iterdir())) == 5


def test_the_command_reseals_and_names_what_does_not_open(store: Blobs) -> None:
    store.put("text", TEXT)
    harmed = store.put("text", b"another").digest
    store.path("text", harmed).write_bytes(b"rubbish")
    keys.rotate_data_key()
    keys.forget()
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="1 files do not open"):
        call_command("keys", "reseal", "--tenant", "north", stdout=out, stderr=err)
    assert (
        "north: 1 files and 0 secrets in rows sealed anew, 0 were right already" in out.getvalue()
    )
    assert f"text/{harmed}: blob.damaged" in err.getvalue()
