"""Files become documents also when messages come twice, workers die and nobody is left to ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
from django.conf import settings

from apps.corpora import actions, readers
from apps.corpora.actions.receiving import WAKE
from apps.corpora.extraction import reading
from apps.corpora.models import Document, ItemState, Upload, UploadItem
from apps.tenants.scope import tenant_scope
from counterpoint.celery import app
from counterpoint.plaincopies import plain_copy
from counterpoint.storage import blobs
from tests.apps.corpora import making
from tests.apps.corpora.making import make_corpus, only_item, outcomes, send
from tests.cast import Cast
from tests.waiting import wait_until
from workers import ingestion
from workers.ingestion import extract

SLOW = "\n".join(f"{n},{n}" for n in range(700_000)).encode()  # seconds of reading


def item_now(cast: Cast, item: UploadItem) -> UploadItem:
    with tenant_scope(cast.north):
        found: UploadItem = UploadItem.objects.get(pk=item.pk)
        return found


# ---- one process ---------------------------------------------------------------------------------


def test_one_message_reads_the_whole_upload(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {f"{n}.txt": b"words %d" % n for n in range(5)})
    with tenant_scope(cast.north):
        first = upload.items.first()
    extract(str(cast.north.pk), str(first.pk))
    assert set(outcomes(cast, upload).values()) == {"stored"}


def test_a_redelivered_task_goes_home(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    item = only_item(cast, upload)
    for _ in range(2):
        extract(str(cast.north.pk), str(item.pk))
    found = item_now(cast, item)
    assert (found.state, found.attempts) == (ItemState.STORED, 1)
    with tenant_scope(cast.north):
        assert Document.objects.count() == 1


def test_a_task_for_a_file_in_other_hands_goes_home(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words", "b.txt": b"more"})
    with tenant_scope(cast.north):
        held = actions.begin_next(upload.pk)
    assert held is not None
    extract(str(cast.north.pk), str(held.pk))
    assert sorted(outcomes(cast, upload).values()) == ["extracting", "received"]


def test_a_task_that_names_another_tenant_finds_nothing(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    extract(str(cast.south.pk), str(only_item(cast, upload).pk))
    assert outcomes(cast, upload) == {"a.txt": "received"}


def test_a_worker_that_comes_back_from_the_dead_changes_nothing(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    with tenant_scope(cast.north):
        slow = actions.begin_next(upload.pk)
        assert slow is not None
        UploadItem.objects.filter(pk=slow.pk).update(claimed_at="2020-01-01T00:00:00Z", attempts=3)
        assert actions.reconcile() == 1
        assert outcomes(cast, upload) == {"a.txt": "extract.failed"}
        original = blobs().open("original", slow.digest)
    copied = plain_copy(original, cast.north.pk)
    with copied as path, reading(path, "a.txt") as found, tenant_scope(cast.north):
        actions.file_documents(slow, found)
        assert not Document.objects.exists()
    assert outcomes(cast, upload) == {"a.txt": "extract.failed"}


def test_whoever_lost_its_claim_settles_nothing_while_another_reads(cast: Cast) -> None:
    corpus = make_corpus(cast)
    making.take_in(cast, corpus, {"first.txt": b"words"})
    upload = send(cast, corpus, {"a.txt": b"words"})
    with tenant_scope(cast.north):
        slow = actions.begin_next(upload.pk)
        assert slow is not None
        UploadItem.objects.filter(pk=slow.pk).update(claimed_at="2020-01-01T00:00:00Z")
        actions.reconcile()
        used = actions.quota.use().used
        assert actions.begin_next(upload.pk) is not None
        for settle in (
            lambda: actions.file_known(slow),
            lambda: actions.reject(slow, "upload.disk_full"),
            lambda: actions.put_back(slow),
        ):
            settle()
            assert outcomes(cast, upload) == {"a.txt": "extracting"}
        assert actions.quota.use().used == used, "its bytes were given back by two"


def test_a_file_whose_reader_is_ended_from_outside_is_read_again(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    item = only_item(cast, upload)
    readers.end_idle()
    with monkeypatch.context() as patch:
        patch.setattr(readers, "START", "import os; os.kill(os.getpid(), 9)")
        with tenant_scope(cast.north):
            claimed = actions.begin(item.pk)
        assert claimed is not None
        ingestion.read_one(str(cast.north.pk), claimed)
        assert outcomes(cast, upload) == {"a.txt": "received"}
        extract(str(cast.north.pk), str(item.pk))
        assert outcomes(cast, upload) == {"a.txt": "extract.failed"}
    with tenant_scope(cast.north):
        actions.retry(upload, by=cast.ada)
    extract(str(cast.north.pk), str(item.pk))
    assert outcomes(cast, upload) == {"a.txt": "stored"}


def test_a_file_that_kills_its_readers_is_given_up(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    for _ in range(actions.ATTEMPTS):
        with tenant_scope(cast.north):
            assert actions.begin_next(upload.pk) is not None
            upload.items.update(claimed_at="2020-01-01T00:00:00Z")
            assert actions.reconcile() == 1
    item = only_item(cast, upload)
    assert item.code == "extract.failed"
    assert "3 attempts" in item.reason


def test_a_file_that_is_being_read_is_left_alone(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    with tenant_scope(cast.north):
        actions.begin_next(upload.pk)
        assert actions.reconcile() == 0
    assert outcomes(cast, upload) == {"a.txt": "extracting"}


def test_the_words_of_a_file_stay_out_of_the_log(
    cast: Cast, capfd: pytest.CaptureFixture[str]
) -> None:
    planted = "the heron nests in the crane"
    files = {"a.txt": planted.encode(), "b.jsonl": planted.encode(), "c.pdf": planted.encode()}
    making.take_in(cast, make_corpus(cast), files)
    told = capfd.readouterr()
    assert planted not in told.out + told.err


# ---- a real worker -------------------------------------------------------------------------------


def messages() -> int:
    """How many messages wait in the ingest queue."""
    with app.connection_for_read() as broker:
        return int(broker.default_channel.client.llen("ingest"))


def forget_messages() -> None:
    with app.connection_for_write() as broker:
        broker.default_channel.queue_purge("ingest")


@contextmanager
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker of the ingest queue, in a process group of its own."""
    words = ["-A", "counterpoint", "worker", "-Q", "ingest", "-P", "solo", "-l", "error"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", *words, *quiet],
        cwd=settings.ROOT,
        env=os.environ | {"PYTHONPATH": f"{settings.ROOT}{os.pathsep}{settings.PLATFORM}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_in(cast: Cast, upload: Upload, state: str) -> Callable[[], bool]:
    return lambda: set(outcomes(cast, upload).values()) == {state}


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_while_reading_loses_nothing(cast: Cast) -> None:
    forget_messages()
    upload = send(cast, make_corpus(cast), {"big.csv": SLOW})
    with worker() as first:
        assert wait_until(is_in(cast, upload, "extracting"), 180)
        children: list[psutil.Process] = []
        assert wait_until(lambda: children.extend(psutil.Process(first.pid).children()) or children)
        first.kill()
        first.wait()
    assert wait_until(lambda: not any(is_alive(child) for child in children), 30), (
        "the reader outlived it"
    )
    assert outcomes(cast, upload) == {"big.csv": "extracting"}
    with tenant_scope(cast.north):
        upload.items.update(claimed_at="2020-01-01T00:00:00Z")  # its lease passes
        assert actions.reconcile() == 1
    with worker():
        assert wait_until(is_in(cast, upload, "stored"), 180)
    assert only_item(cast, upload).attempts == 2


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.django_db(transaction=True)
def test_a_lost_message_is_sent_again(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    forget_messages()
    with tenant_scope(cast.north):
        upload.items.update(created_at="2020-01-01T00:00:00Z")
        actions.reconcile()
    assert messages() == 1
    forget_messages()


@pytest.mark.django_db(transaction=True)
def test_files_behind_many_that_wait_call_one_worker(cast: Cast) -> None:
    forget_messages()
    corpus = make_corpus(cast)
    upload = send(cast, corpus, {f"{n}.txt": b"words %d" % n for n in range(20)})
    assert messages() == WAKE
    send(cast, corpus, {f"{n}.txt": b"words %d" % n for n in range(20, 40)}, upload=upload.pk)
    assert messages() == WAKE + 1
    forget_messages()


def test_a_worker_that_has_read_enough_leaves_nothing_claimed(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "FILES", 2)
    upload = send(cast, make_corpus(cast), {f"{n}.txt": b"words %d" % n for n in range(5)})
    with tenant_scope(cast.north):
        first = upload.items.order_by("created_at").first()
        assert first is not None
    extract(str(cast.north.pk), str(first.pk))
    with tenant_scope(cast.north):
        states = sorted(upload.items.values_list("state", flat=True))
    assert states == ["received", "received", "received", "stored", "stored"]
