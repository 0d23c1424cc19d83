"""Backup and restore on the real engines, with a tiny real model that answers afterwards."""

from __future__ import annotations

import base64
import ctypes
import errno
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from apps.registry.actions import promote
from apps.registry.models import Alias
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint import disk
from counterpoint.operate import cli, sealing
from counterpoint.operate.archive import MANIFEST, Archive
from counterpoint.operate.cli import main
from counterpoint.operate.sealing import BackupKey
from tests import objects
from tests.cast import Cast
from tests.machines import BACKUP_KEY, Run, empty_machine
from tests.workers.making import make_anchor, make_snapshot, publish

OTHER = base64.b64encode(bytes(32)).decode()


# ---- sealing -------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_what_is_sealed_opens_again(plain: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "FRAME", 64)  # several frames of a small text
        sealed, opened = io.BytesIO(), io.BytesIO()
        told = BackupKey(BACKUP_KEY).seal(io.BytesIO(plain), sealed)
        sealed.seek(0)
        assert BackupKey(BACKUP_KEY).open(sealed, opened) == told
        assert opened.getvalue() == plain


@pytest.mark.parametrize("harm", ["cut", "flip", "swap", "key", "head"])
def test_what_was_harmed_does_not_open(monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    monkeypatch.setattr(sealing, "FRAME", 64)
    sealed = io.BytesIO()
    BackupKey(BACKUP_KEY).seal(io.BytesIO(bytes(200)), sealed)
    raw = bytearray(sealed.getvalue())
    if harm == "cut":
        del raw[-(8 + 16) :]  # exactly the last frame
    elif harm == "flip":
        raw[-1] ^= 1
    elif harm == "swap":
        raw[20:100], raw[100:180] = raw[100:180], raw[20:100]
    elif harm == "head":
        raw = raw[:10]
    with pytest.raises(InputError) as refused:
        BackupKey(OTHER if harm == "key" else BACKUP_KEY).open(io.BytesIO(bytes(raw)))
    assert refused.value.code == "backup.damaged"


@pytest.mark.parametrize("text", ["", "hunter2", base64.b64encode(b"short").decode(), "=" * 44])
def test_a_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError) as refused:
        BackupKey(text)
    assert refused.value.code == "backup.key"


# ---- the whole road ------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BACKUP_KEY", BACKUP_KEY)
    return tmp_path / "backups"


@pytest.fixture(name="empty_machine")
def a_machine(tmp_path: Path) -> Iterator[Run]:
    with empty_machine(tmp_path / "restored") as run:
        yield run


@pytest.mark.django_db(transaction=True)
def test_an_empty_machine_gets_everything_back_and_answers_a_question(
    cast: Cast, tmp_path: Path, folder: Path, empty_machine: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with tenant_scope(cast.north):
        anchor = make_anchor(cast, tmp_path / "anchor")
        row = publish(cast, make_snapshot(cast), anchor, tmp_path, uuid4())
        promote(row, Alias.LIVE, by=cast.ada)
    assert main(["backup", "--to", str(folder)]) == 0
    assert main(["verify", "--newest-in", str(folder)]) == 0
    assert "every digest is right" in capsys.readouterr().out
    last = json.loads((Path(settings.HOME) / "last-success" / "backup.json").read_text())
    assert last["backup"] == Archive(folder, BackupKey(BACKUP_KEY)).newest().name

    done = empty_machine("restore", "--newest-in", str(folder), "--ask")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 models are there, digests right" in done.stdout
    assert "answered one question" in done.stdout

    again = empty_machine("restore", "--newest-in", str(folder))
    assert again.returncode == 2
    assert "restore.not_empty" in again.stderr
    told = empty_machine("manage", "verify_audit")
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.django_db(transaction=True)
def test_a_second_backup_copies_only_what_is_new(cast: Cast, folder: Path) -> None:
    from counterpoint.storage import blobs  # noqa: PLC0415  needs Django

    with tenant_scope(cast.north):
        blobs().put("text", uuid4().bytes)
    assert main(["backup", "--to", str(folder)]) == 0
    before = {path: path.stat().st_mtime_ns for path in folder.glob("objects/*/*")}
    with tenant_scope(cast.north):
        blobs().put("text", uuid4().bytes)  # what no other test has stored
    assert main(["backup", "--to", str(folder), "--keep", "1"]) == 0
    after = {path: path.stat().st_mtime_ns for path in folder.glob("objects/*/*")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert len(Archive(folder, BackupKey(BACKUP_KEY)).finished()) == 1  # the older one made room
    assert main(["verify", "--newest-in", str(folder)]) == 0


@pytest.mark.django_db(transaction=True)
def test_a_file_that_was_sealed_anew_is_copied_anew(cast: Cast, folder: Path) -> None:
    from counterpoint import keys, resealing, sealedfiles  # noqa: PLC0415  needs Django
    from counterpoint.storage import blobs  # noqa: PLC0415  as above

    with tenant_scope(cast.north):
        stored = blobs().put("text", uuid4().bytes)
        path = blobs().path("text", stored.digest)
    assert main(["backup", "--to", str(folder)]) == 0
    with tenant_scope(cast.north):
        keys.rotate_data_key()
        keys.forget()
        assert resealing.reseal(settings.HOME).moved > 0
    assert main(["backup", "--to", str(folder)]) == 0
    archive = Archive(folder, BackupKey(BACKUP_KEY))
    name = path.relative_to(settings.HOME).as_posix()
    (kept,) = [each for each in archive.read(archive.newest()).files if each.path == name]
    assert kept.head == sealedfiles.head_of(path)
    assert kept.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.django_db(transaction=True)
def test_nobody_without_the_key_reads_a_word(cast: Cast, folder: Path) -> None:
    from counterpoint.storage import blobs  # noqa: PLC0415  needs Django

    with tenant_scope(cast.north):
        stored = blobs().put("text", b"the margin is eleven percent")
    assert main(["backup", "--to", str(folder)]) == 0
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"eleven percent" not in everything
    assert cast.ada.email.encode() not in everything
    names = {path.name for path in folder.rglob("*")}
    assert stored.digest not in names


# ---- from a bucket -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("into", ["bucket", "folder"])
def test_what_lies_in_a_bucket_is_backed_up_and_restored_equal(
    cast: Cast, folder: Path, empty_machine: Run, tmp_path: Path, settings: Settings, into: str
) -> None:
    from counterpoint.bucket import bucket  # noqa: PLC0415  needs Django
    from counterpoint.storage import blobs  # noqa: PLC0415  as above

    with objects.serving() as endpoint:
        objects.empty(endpoint)
        objects.use(settings, endpoint, tmp_path / "home")
        weights = tmp_path / "weights"
        weights.mkdir()
        (weights / "model.safetensors").write_bytes(bytes(9000))
        with tenant_scope(cast.north):
            blobs().put("text", b"some words")
            blobs().adopt_folder("control", weights, "c" * 64)
        assert main(["backup", "--to", str(folder)]) == 0
        before = {path.stat().st_mtime_ns for path in folder.glob("objects/*/*")}
        assert main(["backup", "--to", str(folder)]) == 0  # what has not changed is not read again
        assert before == {path.stat().st_mtime_ns for path in folder.glob("objects/*/*")}
        there = objects.named(endpoint, "restored") if into == "bucket" else {}
        done = empty_machine("restore", "--newest-in", str(folder), **there)
        assert done.returncode == 0, done.stdout + done.stderr
        found = bucket()
        assert found is not None
        was = {each.name: found.open(each.name).read() for each in found.lying()}  # type: ignore[union-attr]  # it is there
        assert len(was) == 3  # the text, the weights, the sign that the folder is whole
        if into == "bucket":
            settings.S3_PREFIX = "restored"
            found = bucket()
            assert found is not None
            now = {each.name: found.open(each.name).read() for each in found.lying()}  # type: ignore[union-attr]  # as above
            assert now == was
            again = empty_machine("restore", "--newest-in", str(folder), **there)
            assert "restore.not_empty" in again.stderr
        else:
            at_home = tmp_path / "restored" / "blobs"
            now = {
                p.relative_to(at_home).as_posix(): p.read_bytes()
                for p in at_home.rglob("*")
                if p.is_file()
            }
            assert now == {name: content for name, content in was.items() if ".whole" not in name}


# ---- refused by name -----------------------------------------------------------------------------


@pytest.fixture
def taken(cast: Cast, folder: Path) -> Path:
    """One finished backup."""
    from counterpoint.storage import blobs  # noqa: PLC0415  needs Django

    with tenant_scope(cast.north):
        blobs().put("text", b"some words")
    assert main(["backup", "--to", str(folder)]) == 0
    return Archive(folder, BackupKey(BACKUP_KEY)).newest()


@pytest.mark.django_db(transaction=True)
def test_half_a_backup_is_no_backup(
    taken: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (taken / MANIFEST).unlink()
    assert main(["verify", "--backup", str(taken)]) == 2
    assert "backup.unfinished" in capsys.readouterr().err
    assert main(["verify", "--newest-in", str(folder)]) == 2
    assert "backup.none" in capsys.readouterr().err


@pytest.mark.django_db(transaction=True)
def test_what_its_disk_did_not_keep_is_no_backup_and_the_older_one_stands(
    taken: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        """The system's library, whose disk fails at the flush."""

        def syncfs(self, _descriptor: int) -> int:
            assert len(list(folder.glob(f"*/{MANIFEST}"))) == 1  # flushed before anything counts
            ctypes.set_errno(errno.EIO)
            return -1

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_LIBC", Failing())
        assert main(["backup", "--to", str(folder), "--keep", "1"]) == 2
    assert "backup.disk" in capsys.readouterr().err
    assert Archive(folder, BackupKey(BACKUP_KEY)).finished() == [taken]
    assert main(["verify", "--backup", str(taken)]) == 0


@pytest.mark.django_db(transaction=True)
def test_a_changed_file_and_a_lost_one_are_named(
    taken: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [*_, file] = sorted(folder.glob("objects/*/*"))
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(bytes(raw))
    assert main(["verify", "--backup", str(taken)]) == 2
    assert "backup.damaged" in capsys.readouterr().err
    file.unlink()
    assert main(["verify", "--backup", str(taken)]) == 2
    assert "backup.missing" in capsys.readouterr().err


@pytest.mark.django_db(transaction=True)
def test_another_key_and_a_forged_manifest_are_refused(
    taken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKUP_KEY", OTHER)
    assert main(["verify", "--backup", str(taken)]) == 2
    assert "backup.key_other" in capsys.readouterr().err
    monkeypatch.setenv("BACKUP_KEY", BACKUP_KEY)
    told = json.loads((taken / MANIFEST).read_text())
    told["manifest"] = told["manifest"].replace('"files"', '"filez"')
    (taken / MANIFEST).write_text(json.dumps(told))
    assert main(["verify", "--backup", str(taken)]) == 2
    assert "backup.key_other" in capsys.readouterr().err


@pytest.mark.django_db(transaction=True)
def test_the_keys_of_another_installation_are_refused_before_anything_is_made(
    taken: Path, empty_machine: Run, tmp_path: Path
) -> None:
    done = empty_machine("restore", "--backup", str(taken), AUDIT_KEY="another")
    assert done.returncode == 2
    assert "restore.keys" in done.stderr
    assert "AUDIT_KEY" in done.stderr
    assert not (tmp_path / "restored" / "blobs").exists()


@pytest.mark.django_db(transaction=True)
def test_a_restore_that_broke_off_serves_nobody_and_is_begun_anew(
    taken: Path, folder: Path, empty_machine: Run, tmp_path: Path
) -> None:
    home = tmp_path / "restored"
    (home / "blobs" / "half").mkdir(parents=True)
    (home / "restore-unfinished").write_text("x")
    checked = empty_machine("manage", "check")
    assert "counterpoint.E007" in checked.stderr
    done = empty_machine("restore", "--backup", str(taken))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (home / "blobs" / "half").exists()
    assert "counterpoint.E007" not in empty_machine("manage", "check").stderr


@pytest.mark.django_db(transaction=True)
def test_a_backup_of_a_newer_release_is_refused(
    folder: Path, empty_machine: Run, taken: Path
) -> None:
    archive = Archive(folder, BackupKey(BACKUP_KEY))
    from dataclasses import replace  # noqa: PLC0415

    manifest = archive.read(taken)
    newer = replace(manifest, migrations=[*manifest.migrations, "runs.9999_the_future"])
    archive.finish(taken, newer)
    done = empty_machine("restore", "--backup", str(taken))
    assert done.returncode == 2
    assert "database.newer" in done.stderr
    assert "runs.9999_the_future" in done.stderr


def test_a_backup_inside_the_home_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKUP_KEY", BACKUP_KEY)
    assert main(["backup", "--to", str(Path(settings.HOME) / "backups")]) == 2
    assert "backup.place" in capsys.readouterr().err


def test_a_wrong_login_fails_by_name_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], db: None
) -> None:
    url = urlsplit(os.environ["DATABASE_URL"])
    wrong = url._replace(netloc=f"app_backup:hunter2@{url.hostname}:{url.port}").geturl()
    monkeypatch.setenv("DATABASE_BACKUP_URL", wrong)
    assert main(["backup", "--to", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "backup.dump" in told
    assert "hunter2" not in told
    assert list(folder.glob("2*")) == []


def test_the_runtime_login_cannot_take_a_backup(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], db: None
) -> None:
    monkeypatch.setenv("DATABASE_BACKUP_URL", os.environ["DATABASE_URL"])
    assert main(["backup", "--to", str(folder)]) == 2
    assert "row-level security" in capsys.readouterr().err


def test_two_backups_do_not_run_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    with Archive(folder, BackupKey(BACKUP_KEY)).writing():
        assert main(["backup", "--to", str(folder)]) == 2
    assert "backup.busy" in capsys.readouterr().err


def test_a_backup_gives_way_to_whoever_works(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked: list[int] = []
    words = ["backup", "--to", str(folder)]
    monkeypatch.setattr(os, "nice", asked.append)
    monkeypatch.setattr(cli, "backup", lambda _told: 0)
    monkeypatch.setattr(sys, "argv", ["counterpoint", *words])
    assert main(words) == 0  # asked for inside another program, whose priority is its own
    assert asked == []
    assert main() == 0
    assert asked == [cli.GENTLE]
