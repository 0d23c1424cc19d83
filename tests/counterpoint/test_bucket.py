"""Files in a bucket, on a server that speaks S3: the promises of the folder, and its own."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from apps.corpora.models import Document
from apps.forgetting import ending
from apps.tenants.scope import tenant_scope
from calm_engine.errors import EngineError, InputError, InternalError
from counterpoint import bucket as door
from counterpoint import checks, keys, resealing
from counterpoint.bucketblobs import WHOLE, BucketBlobs
from counterpoint.operate import doctor
from counterpoint.storage import SUFFIX, blobs
from tests import objects
from tests.apps.corpora.making import make_corpus, outcomes, send, take_in
from tests.apps.corpora.test_pages import url
from tests.cast import Cast
from tests.waiting import PATIENCE, wait_until

TEXT = b"The gauge of Tarn Lake reads 7 mm."
DIGEST = hashlib.sha256(TEXT).hexdigest()
A = "a" * 64


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with objects.serving() as endpoint:
        yield endpoint


@pytest.fixture
def s3(server: str, settings: Settings, tmp_path: Path) -> str:
    """An empty bucket that the settings name; the address of its server."""
    objects.empty(server)
    objects.use(settings, server, tmp_path / "home")
    keys.forget()
    return server


@pytest.fixture
def store(cast: Cast, s3: str) -> Iterator[BucketBlobs]:
    with tenant_scope(cast.north):
        found = blobs()
        assert isinstance(found, BucketBlobs)
        yield found


def everything(s3: str) -> dict[str, bytes]:
    """Every object of the bucket, read past all of our code."""
    listed = httpx.get(f"{s3}/{objects.BUCKET}").text
    names = [each.partition("</Key>")[0] for each in listed.split("<Key>")[1:]]
    return {name: httpx.get(f"{s3}/{objects.BUCKET}/{name}").content for name in names}


# ---- as a folder does ----------------------------------------------------------------------------


def test_what_is_put_is_found_under_its_digest_and_lies_sealed(store: BucketBlobs, s3: str) -> None:
    stored = store.put("original", SimpleUploadedFile("gauge.txt", TEXT))
    assert (stored.digest, stored.size) == (DIGEST, len(TEXT))
    assert store.exists("original", DIGEST)
    assert not store.exists("text", DIGEST)
    with store.open("original", DIGEST) as file:
        assert file.read() == TEXT
    store.prove("original", DIGEST)
    assert list(everything(s3)) == [f"site/{store.tenant}/original/{DIGEST}"]
    assert not any(TEXT in content for content in everything(s3).values())
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_long_file_is_read_in_pieces_and_sought_in(
    store: BucketBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PIECE", 100_000)
    plain = secrets.token_bytes(600_000)
    digest = store.put("original", plain).digest
    with store.open("original", digest) as file:
        assert file.read() == plain
        assert file.seek(-5, 2) == len(plain) - 5
        assert file.read() == plain[-5:]
        assert file.seek(70_000) == 70_000
        assert file.read(10) == plain[70_000:70_010]


def test_a_long_file_that_is_replaced_while_it_is_read_is_not_mixed(
    store: BucketBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PIECE", 100_000)
    digest = store.put("original", bytes(600_000)).digest
    with store.open("original", digest) as file:
        assert file.read(3) == bytes(3)
        store.bucket.put(store.key("original", digest), secrets.token_bytes(700_000))
        with pytest.raises(InternalError, match=r"bucket\.away"):
            file.read()


def test_the_same_bytes_twice_are_one_object_and_stay_as_they_lie(
    store: BucketBlobs, s3: str
) -> None:
    store.put("original", TEXT)
    before = everything(s3)
    store.put("original", TEXT)
    assert everything(s3) == before


def test_a_damaged_object_is_told_and_whole_again_when_its_bytes_come_again(
    store: BucketBlobs,
) -> None:
    store.put("text", TEXT)
    store.bucket.put(store.key("text", DIGEST), b"rubbish")
    with pytest.raises(InternalError, match=r"blob\.damaged"):
        store.prove("text", DIGEST)
    store.put("text", TEXT)
    store.prove("text", DIGEST)


def test_another_tenant_finds_nothing(cast: Cast, store: BucketBlobs) -> None:
    store.put("original", TEXT)
    with tenant_scope(cast.south):
        assert not blobs().exists("original", DIGEST)
        with pytest.raises(InternalError, match=r"blob\.missing"):
            blobs().open("original", DIGEST)


def test_what_is_deleted_is_gone(store: BucketBlobs, s3: str) -> None:
    store.put("text", TEXT)
    store.delete("text", DIGEST)
    store.delete("text", DIGEST)
    assert everything(s3) == {}


# ---- folders -------------------------------------------------------------------------------------


def finished(tmp_path: Path) -> Path:
    folder = tmp_path / "finished"
    (folder / "parts").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(TEXT)
    (folder / "parts" / "more.safetensors").write_bytes(TEXT * 2)
    return folder


def test_a_folder_of_weights_is_copied_to_a_machine_that_asks(
    store: BucketBlobs, tmp_path: Path, settings: Settings
) -> None:
    for _ in range(2):
        adopted = store.adopt_folder("augmenter", finished(tmp_path), A)
        assert (adopted / "model.safetensors").read_bytes() == TEXT
    assert store.names("augmenter") == [A]
    assert store.within("augmenter", A) == ["model.safetensors", "parts/more.safetensors"]
    settings.HOME = tmp_path / "another machine"
    there = blobs().folder("augmenter", A)
    assert there.is_relative_to(settings.HOME)
    assert (there / "parts" / "more.safetensors").read_bytes() == TEXT * 2
    blobs().delete("augmenter", A)
    settings.HOME = tmp_path / "home"
    with pytest.raises(InternalError, match=r"blob\.missing"):
        blobs().folder("augmenter", A)
    assert not adopted.exists()  # the copy here went with the original


def test_a_folder_of_which_half_has_arrived_is_not_there(
    store: BucketBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = store.bucket.put

    def dies(name: str, source: Path | bytes) -> None:
        if name.endswith("more.safetensors"):
            raise KeyboardInterrupt
        whole(name, source)

    monkeypatch.setattr(store.bucket, "put", dies)
    with pytest.raises(KeyboardInterrupt):
        store.adopt_folder("augmenter", finished(tmp_path), A)
    assert not store.exists("augmenter", A)
    assert store.names("augmenter") == []
    monkeypatch.setattr(store.bucket, "put", whole)
    store.adopt_folder("augmenter", tmp_path / "finished", A)
    assert store.exists("augmenter", A)


def test_a_folder_that_quotes_documents_lies_sealed_and_in_the_bucket_alone(
    store: BucketBlobs, tmp_path: Path, s3: str
) -> None:
    folder = tmp_path / "finished"
    folder.mkdir()
    (folder / "items.jsonl").write_bytes(TEXT)
    store.adopt_folder("report", folder, A)
    assert not folder.exists()
    assert {name.rpartition("/")[2] for name in everything(s3)} == {WHOLE, f"items.jsonl{SUFFIX}"}
    assert not any(TEXT in content for content in everything(s3).values())
    with store.open_within("report", A, "items.jsonl") as file:
        assert file.read() == TEXT
    with pytest.raises(InternalError, match=r"blob\.missing"):
        store.open_within("report", A, "other.jsonl")


# ---- keys and tenants ----------------------------------------------------------------------------


def test_resealing_reaches_the_bucket_and_is_done_once(store: BucketBlobs, tmp_path: Path) -> None:
    store.put("original", TEXT * 9000)
    folder = tmp_path / "finished"
    folder.mkdir()
    (folder / "items.jsonl").write_bytes(TEXT)
    store.adopt_folder("report", folder, A)
    keys.rotate_data_key()
    keys.forget()
    assert resealing.in_use(tmp_path / "home") == {1: 2}
    assert resealing.reseal(tmp_path / "home") == resealing.Resealed(2, 0, [])
    assert resealing.reseal(tmp_path / "home") == resealing.Resealed(0, 2, [])
    assert resealing.in_use(tmp_path / "home") == {2: 2}
    with store.open_within("report", A, "items.jsonl") as file:
        assert file.read() == TEXT


def test_a_tenant_that_leaves_takes_its_objects_along(cast: Cast, store: BucketBlobs) -> None:
    store.put("text", TEXT)
    store.put("original", TEXT)
    with tenant_scope(cast.south):
        blobs().put("text", TEXT)
    assert ending.looked_at(cast.north).files >= 2
    assert ending.drop_files(cast.north) >= 2
    assert store.names("text") == []
    with tenant_scope(cast.south):
        assert blobs().names("text") == [DIGEST]


# ---- the product on it ---------------------------------------------------------------------------


def test_an_upload_goes_its_whole_way_and_leaves_nothing_plain(
    cast: Cast, s3: str, tmp_path: Path
) -> None:
    upload = take_in(cast, make_corpus(cast), {"gauge.txt": TEXT})
    assert outcomes(cast, upload) == {"gauge.txt": "stored"}
    with tenant_scope(cast.north):
        row = Document.objects.get()
        assert blobs().open("text", row.text_digest).read().strip() == TEXT
        original = blobs().open("original", row.original_digest).read()
    assert original == TEXT
    assert not any(TEXT in content for content in everything(s3).values())
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [path for path in left if TEXT in path.read_bytes()] == []


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_forks_reads_from_the_bucket(cast: Cast, s3: str, tmp_path: Path) -> None:
    """The start looks at the bucket by another process: a child of this one may still ask it."""
    upload = send(cast, make_corpus(cast), {"gauge.txt": TEXT})
    told = os.environ | objects.named(s3) | {"COUNTERPOINT_HOME": str(tmp_path / "home")}
    told |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    told |= {name: getattr(settings_of(), name) for name in ("SITE_KEY", "AUDIT_KEY")}
    command = [sys.executable, "-m", "celery", "-A", "counterpoint", "--quiet", "worker"]
    command += ["-Q", "ingest", "-c", "1", "--without-gossip", "--without-mingle", "-n", "s3@%h"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=told, stdout=log, stderr=log)
    try:
        waited = wait_until(lambda: outcomes(cast, upload) == {"gauge.txt": "stored"}, PATIENCE)
        assert waited, (tmp_path / "worker.log").read_text()
    finally:
        worker.terminate()
        worker.wait(PATIENCE)


def settings_of() -> object:
    from django.conf import settings  # noqa: PLC0415  beside the fixture of that name

    return settings


def test_what_lies_at_home_is_refused_until_it_is_brought_over(
    cast: Cast, server: str, settings: Settings, tmp_path: Path
) -> None:
    objects.empty(server)
    settings.HOME = tmp_path / "home"
    with tenant_scope(cast.north):
        blobs().put("text", TEXT)
        blobs().adopt_folder("augmenter", finished(tmp_path), A)
        (tmp_path / "finished").mkdir()
        (tmp_path / "finished" / "items.jsonl").write_bytes(TEXT)
        blobs().adopt_folder("report", tmp_path / "finished", "b" * 64)
    objects.use(settings, server, tmp_path / "home")
    assert [each.id for each in checks.files_are_in_the_bucket()] == ["counterpoint.E010"]
    out = StringIO()
    call_command("to_bucket", stdout=out)
    assert "3 files and folders" in out.getvalue()
    assert checks.files_are_in_the_bucket() == []
    with tenant_scope(cast.north):
        assert blobs().open("text", DIGEST).read() == TEXT
        assert blobs().open_within("report", "b" * 64, "items.jsonl").read() == TEXT
        assert (blobs().folder("augmenter", A) / "model.safetensors").read_bytes() == TEXT
    call_command("to_bucket", stdout=out)
    assert "0 files and folders" in out.getvalue()


# ---- a bucket that is wrong ----------------------------------------------------------------------


@pytest.fixture
def said(s3: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What the start of a serving process would be refused with."""

    def look(**changed: str) -> list[str]:
        for name, value in (objects.named(s3) | changed).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        return [f"{each.id}: {each.msg}" for each in checks.bucket_is_usable()]

    return look


def test_a_read_only_bucket_is_refused_before_anybody_is_served(
    s3: str, said: Callable[..., list[str]]
) -> None:
    assert said() == []
    objects.forbid_writing(s3)
    [found] = said()
    assert found.startswith("counterpoint.E009: The bucket does not let us write")


def test_a_bucket_that_is_not_there_is_refused_and_a_service_that_is_away_is_not(
    said: Callable[..., list[str]],
) -> None:
    [found] = said(S3_BUCKET="another")
    assert found.startswith("counterpoint.E009")
    assert said(S3_ENDPOINT="http://127.0.0.1:1") == []  # it may come back


def test_a_bucket_with_half_a_restore_in_it_is_refused(
    store: BucketBlobs, said: Callable[..., list[str]]
) -> None:
    store.bucket.put(door.UNFINISHED_MARK, b"20261122T000000Z")
    [found] = said()
    assert "A restore into the bucket began and did not end" in found


@pytest.mark.django_db
def test_the_web_does_not_start_on_a_read_only_bucket(s3: str) -> None:
    objects.forbid_writing(s3)
    script = "import django; django.setup(); from counterpoint import checks;"
    script += "checks.refuse_a_dangerous_start()"
    told = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | told | objects.named(s3),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 78
    assert "counterpoint.E009" in done.stderr
    assert "a secret of the bucket" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"S3_SECRET": ""}, "S3_SECRET is not"),
        ({"S3_ENDPOINT": "", "S3_KEY_ID": ""}, "S3_ENDPOINT and S3_KEY_ID is not"),
        ({"S3_ENDPOINT": "http://192.0.2.1:9000"}, "S3_ENDPOINT must be https"),
        ({"S3_CA_FILE": "/nowhere"}, "S3_CA_FILE names a file that is not there"),
    ],
)
def test_settings_that_name_no_bucket_are_refused_by_name(
    s3: str, settings: Settings, changed: dict[str, str], told: str
) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    with pytest.raises(InputError, match=r"bucket\.settings") as refused:
        reached()
    assert told in refused.value.message


def reached() -> None:
    found = door.bucket()
    assert found is not None
    found.reach()


def test_a_read_only_bucket_is_told_by_the_doctor_and_takes_no_upload(
    cast: Cast, s3: str, store: BucketBlobs
) -> None:
    assert [each.state for each in doctor.files()] == [doctor.State.OK]
    objects.forbid_writing(s3)
    [found] = doctor.files()
    assert found.state is doctor.State.FAULT
    assert "bucket.refused" in found.told
    with pytest.raises(EngineError, match=r"bucket\.refused"):
        store.put("original", TEXT)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_while_the_service_is_away_the_site_is_not_ready_and_says_to_come_back(
    cast: Cast, s3: str, settings: Settings, client: Client
) -> None:
    assert client.get("/readyz").json()["files"] == "ok"
    settings.S3_ENDPOINT = "http://127.0.0.1:1"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["files"].startswith("bucket.away")
    ada = cast.client(cast.ada)
    ada.raise_request_exception = False
    file = SimpleUploadedFile("gauge.txt", TEXT)
    answer = ada.post(url("receive", make_corpus(cast)), {"files": [file]})
    assert answer.status_code == 503
    assert answer["Retry-After"]


def test_a_private_authority_is_trusted_when_it_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = objects.under_an_authority(tmp_path)
    with objects.serving(context) as endpoint:
        with monkeypatch.context() as ours:
            ours.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            objects.empty(endpoint)
        objects.use(settings, endpoint, tmp_path)
        stranger = door.bucket()
        assert stranger is not None
        with pytest.raises(InternalError, match=r"bucket\.away"):
            stranger.reach()
        settings.S3_CA_FILE = str(tmp_path / "ca.pem")
        known = door.bucket()
        assert known is not None
        known.prove()
