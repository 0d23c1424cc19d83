"""Every file that was handed over has exactly one outcome, and none costs another."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from apps.audit.models import AuditEvent
from apps.corpora import actions
from apps.corpora.extraction import LIMITS, reading
from apps.corpora.models import Document, ItemState, Tally, Upload, UploadItem
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.plaincopies import plain_copy
from counterpoint.storage import blobs
from tests.apps.corpora import making
from tests.apps.corpora.making import make_corpus, only_item, outcomes, read_all, send, take_in
from tests.cast import Cast


def tally(cast: Cast, upload: Upload) -> Tally:
    with tenant_scope(cast.north):
        return upload.tally()


def plans(call: Callable[[], object]) -> str:
    """How the database answers what this asks, now that it knows how long the table is."""
    with CaptureQueriesContext(connection) as asked:
        call()
    told: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE corpora_uploaditem")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        for each in asked.captured_queries:
            cursor.execute(f"EXPLAIN {each['sql']}")
            told += [line for (line,) in cursor.fetchall()]
    return "\n".join(told)


def test_the_card_of_a_long_upload_is_read_off_its_indexes(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    with tenant_scope(cast.north):
        waiting = (UploadItem(upload=upload, path=f"{at}.txt") for at in range(2000))
        UploadItem.objects.bulk_create(waiting)
        assert "Index Only Scan using item_by_state" in plans(upload.tally)
        first = plans(lambda: list(upload.items.files().order_by("created_at", "pk")[:50]))
    assert "Index Scan using item_by_arrival" in first
    assert "Sort" not in first


BAD = {
    "empty.txt": (b"", "file.empty"),
    "program.exe": (making.ELF, "file.type"),
    "invoice.pdf": (making.ELF, "file.disguised"),
    "cut.pdf": (making.as_pdf("words")[:200], "pdf.broken"),
    "scan.pdf": (making.as_scan(), "pdf.no_text"),
    "locked.pdf": (making.as_pdf("words", password="secret"), "file.encrypted"),
    "bomb.zip": (making.as_bomb(), "archive.bomb"),
}


def test_bad_files_are_told_apart_and_cost_the_good_ones_nothing(cast: Cast) -> None:
    files = {name: content for name, (content, _code) in BAD.items()}
    upload = take_in(cast, make_corpus(cast), files | {"good.txt": b"Country: Peru"})
    assert outcomes(cast, upload) == {n: code for n, (_c, code) in BAD.items()} | {
        "good.txt": "stored"
    }
    assert tally(cast, upload) == Tally(stored=1, rejected=len(BAD))
    with tenant_scope(cast.north):
        for item in upload.items.exclude(code=""):
            assert item.reason.endswith(".")
            assert item.code not in item.reason


def test_a_climbing_path_is_refused_and_recorded(cast: Cast) -> None:
    file = SimpleUploadedFile("x.txt", b"words")
    with tenant_scope(cast.north):
        upload = actions.receive(make_corpus(cast), [file], by=cast.ada, paths=["../../etc/x.txt"])
    item = only_item(cast, upload)
    assert (item.code, item.path, item.digest) == ("file.path", "../../etc/x.txt", "")


def test_a_folder_keeps_its_paths(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"1", "b.txt": b"2"}, paths=["one/a.txt"])
    assert sorted(outcomes(cast, upload)) == ["b.txt", "one/a.txt"]


def test_batches_join_one_upload(cast: Cast) -> None:
    corpus = make_corpus(cast)
    first = send(cast, corpus, {"a.txt": b"one"})
    second = send(cast, corpus, {"b.txt": b"two"}, upload=first.pk)
    assert second.pk == first.pk
    assert tally(cast, first) == Tally(in_progress=2)
    with pytest.raises(PermissionDenied):
        send(cast, make_corpus(cast, "Other"), {"c.txt": b"three"}, upload=first.pk)


def test_the_same_bytes_are_a_duplicate(cast: Cast) -> None:
    corpus = make_corpus(cast)
    upload = take_in(cast, corpus, {"a.txt": b"words", "copy.txt": b"words"})
    assert sorted(outcomes(cast, upload).values()) == ["duplicate", "stored"]
    again = take_in(cast, corpus, {"again.txt": b"words"})
    assert outcomes(cast, again) == {"again.txt": "duplicate"}
    elsewhere = take_in(cast, make_corpus(cast, "Other"), {"a.txt": b"words"})
    assert outcomes(cast, elsewhere) == {"a.txt": "stored"}


def test_an_archive_is_a_container_and_its_files_are_counted(cast: Cast) -> None:
    inner = making.as_zip({"b.txt": b"two", "same.txt": b"one"})
    files = {
        "a.txt": b"one",
        "../out.txt": b"out",
        "tool.exe": making.ELF,
        "inner.zip": inner,
        "mail.eml": making.as_mail("three", note_txt=b"four"),
    }
    upload = take_in(cast, make_corpus(cast), {"all.zip": making.as_zip(files)})
    assert outcomes(cast, upload) == {
        "all.zip": "container",
        "all.zip/a.txt": "stored",
        "all.zip/../out.txt": "archive.path",
        "all.zip/tool.exe": "file.type",
        "all.zip/inner.zip": "container",
        "all.zip/inner.zip/b.txt": "stored",
        "all.zip/inner.zip/same.txt": "duplicate",
        "all.zip/mail.eml": "stored",
        "all.zip/mail.eml/note.txt": "stored",
    }
    assert tally(cast, upload) == Tally(stored=4, duplicate=1, rejected=2)


def test_archives_in_archives_end_somewhere(cast: Cast) -> None:
    deep = making.as_zip({"end.txt": b"words"})
    for _ in range(LIMITS.depth):
        deep = making.as_zip({"in.zip": deep})
    upload = take_in(cast, make_corpus(cast), {"in.zip": deep})
    assert sorted(outcomes(cast, upload).values()) == [
        "archive.nested",
        *["container"] * LIMITS.depth,
    ]


def test_out_of_one_file_come_so_many_and_no_more(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions.outcomes, "WITHIN_FILES", 3)
    few, many = (making.as_zip({f"{n}.txt": b"%d" % n for n in range(of)}) for of in (2, 4))
    deep = making.as_zip({"a.zip": few, "b.txt": b"words"})  # 2, and 2 in one of them
    upload = take_in(cast, make_corpus(cast), {"many.zip": many, "deep.zip": deep})
    assert outcomes(cast, upload) == {
        "many.zip": "archive.bomb",
        "deep.zip": "container",
        "deep.zip/a.zip": "archive.bomb",
        "deep.zip/b.txt": "stored",
    }
    with tenant_scope(cast.north):
        inner = upload.items.get(path="deep.zip/a.zip")
        assert actions.outcomes._within(inner.root) == (2, len(few) + len(b"words"))


def test_of_files_that_are_sent_by_themselves_there_may_be_any_number(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions.outcomes, "WITHIN_FILES", 3)
    sent = {f"{n}.txt": b"words %d" % n for n in range(5)}
    held = making.as_zip({f"{n}.txt": b"inner %d" % n for n in range(3)})
    upload = take_in(cast, make_corpus(cast), sent | {"held.zip": held})
    assert tally(cast, upload) == Tally(stored=8)


def test_a_file_over_the_limit_is_refused_unstored(cast: Cast, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = 4
    upload = send(cast, make_corpus(cast), {"a.txt": b"words", "b.txt": b"word"})
    assert outcomes(cast, upload) == {"a.txt": "file.too_large", "b.txt": "received"}


def test_retry_reads_only_what_was_rejected(cast: Cast) -> None:
    upload = take_in(
        cast, make_corpus(cast), {"good.txt": b"x y", "cut.pdf": b"%PDF-1.4", "a.exe": b"MZ"}
    )
    before = outcomes(cast, upload)
    with tenant_scope(cast.north):
        assert actions.retry(upload, by=cast.ada) == 1  # the program's bytes were never stored
    assert outcomes(cast, upload) == before | {"cut.pdf": "received"}
    read_all(cast, upload)
    assert outcomes(cast, upload) == before


def test_only_a_curator_of_the_corpus_may_add_to_it(cast: Cast) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north):
        actions.grant(corpus, cast.bo, "read", by=cast.ada)
        with pytest.raises(PermissionDenied, match=r"may curate.*Ada Lind can grant it"):
            actions.receive(corpus, [], by=cast.bo)
        actions.grant(corpus, cast.bo, "curate", by=cast.ada)
        assert actions.receive(corpus, [], by=cast.bo).by == cast.bo


def test_receiving_is_audited_without_a_word_of_the_text(cast: Cast) -> None:
    upload = send(cast, make_corpus(cast), {"a.txt": b"planted sentence", "b.exe": b"MZ"})
    with tenant_scope(cast.north):
        line = AuditEvent.objects.get(action="upload.receive")
    assert line.resource_id == str(upload.pk)
    assert line.facts == {"files": 2, "rejected": 1}


# ---- the disk ------------------------------------------------------------------------------------


def test_a_disk_that_is_low_is_noticed_before_accepting(cast: Cast, settings: Any) -> None:
    corpus = make_corpus(cast)
    settings.DISK_RESERVE_BYTES = 1 << 60
    upload = send(cast, corpus, {"a.txt": b"words"})
    item = only_item(cast, upload)
    assert (item.state, item.code, item.digest) == ("rejected", "upload.disk_full", "")
    assert "free some space" in item.reason


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes; mounting one is the root user's right."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root; the low disk is tested above")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_rejects_what_does_not_fit_and_keeps_the_rest(
    cast: Cast, tiny_disk: Path, settings: Any
) -> None:
    corpus = make_corpus(cast)
    settings.HOME, settings.DISK_RESERVE_BYTES = tiny_disk, 0
    files = {f"{n}.txt": f"file {n} ".encode() * 120_000 for n in range(8)}  # 0.84 MB each
    upload = send(cast, corpus, files)
    found = outcomes(cast, upload)
    assert list(found.values()).count("received") == 4
    assert list(found.values()).count("upload.disk_full") == 4
    with tenant_scope(cast.north):
        folder = blobs().kind_folder("original")
    assert len(list(folder.iterdir())) == 4, "nothing half-written is left"


def test_a_disk_that_fills_while_reading_rejects_the_file_and_keeps_its_bytes(
    cast: Cast, tiny_disk: Path, settings: Any
) -> None:
    corpus = make_corpus(cast)
    settings.HOME, settings.DISK_RESERVE_BYTES = tiny_disk, 0
    upload = send(cast, corpus, {"a.txt": b"words " * 500_000})  # 2.9 MB, and as much again as text
    read_all(cast, upload)
    assert outcomes(cast, upload) == {"a.txt": "upload.disk_full"}
    with tenant_scope(cast.north):
        assert not Document.objects.exists()
        assert actions.retry(upload, by=cast.ada) == 1
    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny_disk)], check=True)
    read_all(cast, upload)
    assert outcomes(cast, upload) == {"a.txt": "stored"}


def test_a_full_scratch_folder_is_not_the_files_fault(tiny_disk: Path, tmp_path: Path) -> None:
    packed = tmp_path / "x.zip"
    packed.write_bytes(making.as_zip({"a.txt": b"A" * (8 << 20)}))
    with pytest.raises(InputError) as refused, reading(packed, "x.zip", scratch=tiny_disk):
        pass
    assert refused.value.code == "upload.disk_full"
    assert not list(tiny_disk.iterdir())


# ---- the equation --------------------------------------------------------------------------------

FILES = {
    "good.txt": (b"words", 0),
    "copy.txt": (b"words", 0),
    "other.txt": (b"more words", 0),
    "empty.txt": (b"", 0),
    "cut.pdf": (b"%PDF-1.4", 0),
    "two.zip": (making.as_zip({"good.txt": b"words", "bad.exe": b"MZ"}), 2),
    "mail.eml": (making.as_mail("hello", note_txt=b"more words"), 1),
    "broken.zip": (b"PK\x03\x04 and no more", 0),
}
STEPS = st.one_of(
    st.tuples(st.just("send"), st.lists(st.sampled_from(sorted(FILES)), min_size=1, max_size=3)),
    st.tuples(st.sampled_from(["read", "die", "reconcile", "retry"]), st.just([])),
)


class Model:
    """What was handed over, counted apart from the product's own counting."""

    def __init__(self, cast: Cast, corpus: object) -> None:
        self.cast, self.upload, self.handed = cast, send(cast, corpus, {}), 0  # type: ignore[arg-type]
        self.corpus = corpus

    def send(self, names: list[str]) -> None:
        sent = [SimpleUploadedFile(name, FILES[name][0]) for name in names]
        actions.receive(self.upload.corpus, sent, by=self.cast.ada, upload=self.upload.pk)
        self.handed += len(names)

    def read(self, _names: list[str]) -> None:
        if (item := actions.begin_next(self.upload.pk)) is None:
            return
        if actions.file_known(item):
            return
        try:
            original = blobs().open("original", item.digest)
            copied = plain_copy(original, item.tenant_id)
            with copied as path, reading(path, item.path) as found:
                actions.file_documents(item, found)
        except InputError as refused:
            actions.reject(item, refused.code, **refused.facts)

    def die(self, _names: list[str]) -> None:
        """A worker claims a file and is never heard of again; its lease passes."""
        if item := actions.begin_next(self.upload.pk):
            UploadItem.objects.filter(pk=item.pk).update(claimed_at="2020-01-01T00:00:00Z")

    def reconcile(self, _names: list[str]) -> None:
        actions.reconcile()

    def retry(self, _names: list[str]) -> None:
        actions.retry(self.upload, by=self.cast.ada)

    def check(self) -> None:
        items = list(self.upload.items.all())
        counted = [item for item in items if item.state != ItemState.CONTAINER]
        inner = [item for item in items if item.parent_id]
        assert len(items) - len(inner) == self.handed
        opened = [i for i in items if i.state in ("container", "stored", "duplicate")]
        most = sum(FILES[i.path][1] for i in opened if i.path in FILES)
        assert len(inner) <= most
        told = self.upload.tally()
        assert told.received == len(counted)
        assert told.received == told.stored + told.duplicate + told.rejected + told.in_progress
        assert told.stored == Document.objects.filter(corpus=self.upload.corpus).count()


@effort(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(STEPS, min_size=2, max_size=7))
def test_the_equation_always_balances(cast: Cast, steps: list[tuple[str, list[str]]]) -> None:
    with tenant_scope(cast.north):
        corpus = actions.create_corpus(
            f"Handbook {Document.objects.count()} {id(steps)}", by=cast.ada
        )
        model = Model(cast, corpus)
        for name, files in steps:
            getattr(model, name)(files)
            model.check()
        while UploadItem.objects.in_progress().filter(upload=model.upload).exists():
            model.read([])
            model.reconcile([])
        model.check()
        assert model.upload.tally().in_progress == 0
