"""The pages of corpora, without script: what they show, to whom, and what they never do."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.urls import reverse

from apps.accounts.actions import invite
from apps.accounts.models import User
from apps.corpora import actions
from apps.corpora.models import Corpus, Document, Freezing, Snapshot, Upload
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope
from counterpoint.storage import blobs
from tests.apps.corpora import making
from tests.apps.corpora.making import make_corpus, make_document, read_all, send, take_in
from tests.cast import Cast
from tests.waiting import PATIENCE
from workers import ingestion

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def url(name: str, row: Any = None) -> str:
    return reverse(f"corpora:{name}", kwargs={"code": row.pk} if row else None)


def page(cast: Cast, address: str, user: User | None = None) -> str:
    answer = cast.client(user or cast.ada).get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def post(cast: Cast, address: str, data: Any = None, user: User | None = None) -> HttpResponse:
    return cast.client(user or cast.ada).post(address, data or {})


# ---- the road, by forms alone --------------------------------------------------------------------


def test_the_road_from_a_name_to_a_snapshot_needs_no_script(cast: Cast) -> None:
    made = post(cast, url("new"), {"name": "Handbook", "sensitivity": "internal"})
    with tenant_scope(cast.north):
        corpus = Corpus.objects.get()
    assert made["Location"] == corpus.get_absolute_url()

    files = [SimpleUploadedFile("a.txt", b"Country: Peru"), SimpleUploadedFile("b.exe", b"MZ")]
    sent = post(cast, url("receive", corpus), {"files": files})
    with tenant_scope(cast.north):
        upload = Upload.objects.get()
    assert sent["Location"] == upload.get_absolute_url()
    assert "2 received = 0 stored + 0 duplicates + 1 rejected + 1 in progress" in page(
        cast, sent["Location"]
    )

    read_all(cast, upload)
    card = page(cast, sent["Location"])
    assert "2 received = 1 stored + 0 duplicates + 1 rejected + 0 in progress" in card
    assert "Files of this kind cannot be read (exe)." in card

    table = SimpleUploadedFile("e.csv", b"question,answer\nWhere?,Peru\n")
    told = cast.client(cast.ada).post(url("examples", corpus), {"file": table}, follow=True)
    assert "1 added, 0 known already, 0 refused." in told.content.decode()

    typed = {"question": "Who?", "answer": "Ada Lind", "expected": "Ada"}
    told = cast.client(cast.ada).post(url("examples", corpus), typed, follow=True)
    assert "1 added" in told.content.decode()
    told = cast.client(cast.ada).post(url("examples", corpus), {"question": "Who?"}, follow=True)
    assert "question and answer must both be filled in" in told.content.decode()
    told = cast.client(cast.ada).post(url("examples", corpus), {}, follow=True)
    assert "or type a question" in told.content.decode()

    assert "Freeze" in page(cast, url("freeze", corpus))
    frozen = post(cast, url("freeze", corpus), {"note": "first"})
    with tenant_scope(cast.north):
        order = Freezing.objects.get()
    assert frozen["Location"] == order.get_absolute_url()
    ingestion.freeze(str(cast.north.pk), str(order.pk))
    with tenant_scope(cast.north):
        snapshot = Snapshot.objects.get()
    led = cast.client(cast.ada).get(frozen["Location"])
    assert led["Location"] == snapshot.get_absolute_url()
    shown = page(cast, led["Location"])
    assert snapshot.digest in shown
    assert f"{reverse('teaching:start')}?snapshot={snapshot.pk}" in shown


@pytest.mark.parametrize("tab", ["documents", "uploads", "examples", "snapshots", "access", "no"])
def test_every_tab_opens_empty_and_full(cast: Cast, tab: str) -> None:
    corpus = make_corpus(cast)
    page(cast, f"{corpus.get_absolute_url()}?tab={tab}")
    make_document(cast, corpus)
    with tenant_scope(cast.north):
        actions.add_examples(corpus, [{"question": "Where?", "answer": "Peru"}], by=cast.ada)
        actions.freeze(corpus, by=cast.ada)
        actions.grant(corpus, cast.bo, "read", by=cast.ada)
    page(cast, f"{corpus.get_absolute_url()}?tab={tab}")


def test_a_name_that_is_taken_is_said_beside_its_field(cast: Cast) -> None:
    make_corpus(cast)
    answer = post(cast, url("new"), {"name": "Handbook", "sensitivity": "internal"})
    assert answer.status_code == 200
    assert "There is already a corpus of this name" in answer.content.decode()


def test_a_form_without_a_file_says_so(cast: Cast) -> None:
    corpus = make_corpus(cast)
    told = cast.client(cast.ada).post(url("receive", corpus), follow=True)
    assert "Choose at least one file." in told.content.decode()


def test_the_script_s_batches_get_json(cast: Cast) -> None:
    corpus, client = make_corpus(cast), cast.client(cast.ada)
    ask = {"HTTP_ACCEPT": "application/json", "HTTP_X_UPLOAD_BATCH": "1"}
    data = {"files": [SimpleUploadedFile("a.txt", b"one")], "paths": ["deep/a.txt"]}
    first = json.loads(client.post(url("receive", corpus), data, **ask).content)
    data = {"files": [SimpleUploadedFile("b.txt", b"two")], "upload": first["upload"]}
    second = json.loads(client.post(url("receive", corpus), data, **ask).content)
    assert first == second
    with tenant_scope(cast.north):
        upload = Upload.objects.get()
        assert first == {"url": upload.get_absolute_url(), "upload": str(upload.pk)}
        assert sorted(item.path for item in upload.items.all()) == ["b.txt", "deep/a.txt"]
    refused = client.post(url("receive", corpus), {}, **ask)
    assert (refused.status_code, json.loads(refused.content)) == (
        400,
        {"error": "Choose at least one file."},
    )


def test_retry_is_offered_where_it_can_help(cast: Cast) -> None:
    upload = take_in(cast, make_corpus(cast), {"cut.pdf": b"%PDF-1.4", "a.exe": b"MZ"})
    assert "Read 1 rejected file again" in page(cast, upload.get_absolute_url())
    assert post(cast, url("retry", upload))["Location"] == upload.get_absolute_url()
    assert "1 in progress" in page(cast, upload.get_absolute_url())


def test_outcomes_are_a_table_that_runs_nothing(cast: Cast) -> None:
    upload = take_in(cast, make_corpus(cast), {"=cmd().exe": b"MZ", "a.txt": b"words"})
    answer = cast.client(cast.ada).get(url("outcomes", upload))
    assert "attachment" in answer["Content-Disposition"]
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(answer.content.decode()))}
    assert rows["a.txt"]["outcome"] == "stored"
    assert rows["'=cmd().exe"]["code"] == "file.type"
    assert rows["'=cmd().exe"]["reason"]


def test_leaving_a_document_out_is_undone_by_the_same_button(cast: Cast) -> None:
    document = make_document(cast)
    for name, state in (("exclude", "excluded"), ("include", "ready")):
        assert post(cast, url(name, document)).status_code == 302
        with tenant_scope(cast.north):
            assert Document.objects.get().state == state
        page(cast, document.get_absolute_url())


def test_freezing_nothing_says_what_to_do(cast: Cast) -> None:
    corpus = make_corpus(cast)
    answer = post(cast, url("freeze", corpus), {})
    assert answer.status_code == 200
    assert "There is no text to learn from" in answer.content.decode()


def test_a_long_list_has_pages_and_a_search(cast: Cast) -> None:
    corpus = make_corpus(cast)
    upload = make_document(cast, corpus).items
    with tenant_scope(cast.north):
        digest = upload.get().document.text_digest
        Document.objects.bulk_create(
            Document(
                corpus=corpus,
                title=f"Sheet {n}",
                path=f"{n}.txt",
                media_type="text/plain",
                original_digest=f"{n:064x}",
                text_digest=digest,
            )
            for n in range(60)
        )
    first = page(cast, corpus.get_absolute_url())
    assert first.count("/corpora/documents/") == 50
    [after] = re.findall(r"after=([\w-]+)", first)
    assert page(cast, f"{corpus.get_absolute_url()}?after={after}").count("/documents/") == 11
    assert page(cast, f"{corpus.get_absolute_url()}?q=Sheet+7").count("/corpora/documents/") == 1


# ---- what must never happen ----------------------------------------------------------------------


def test_the_text_of_a_document_is_shown_and_never_run(cast: Cast) -> None:
    document = make_document(cast, text=f"{HOSTILE} words")
    shown = page(cast, document.get_absolute_url())
    assert "<script>alert" not in shown
    assert "onerror=alert(2)&gt;" in shown


def test_a_hostile_name_is_shown_as_it_is(cast: Cast) -> None:
    files = {'"><img src=x onerror=alert(1)>.txt': b"words", "<b>.exe": b"MZ"}
    upload = take_in(cast, make_corpus(cast), files)
    with tenant_scope(cast.north):
        document = Document.objects.get()
    for address in (upload.get_absolute_url(), document.get_absolute_url()):
        assert "<img" not in page(cast, address)
        assert "<b>" not in page(cast, address)


def test_an_original_comes_only_as_an_attachment(cast: Cast) -> None:
    take_in(cast, make_corpus(cast), {"page.html": f"<p>{HOSTILE} words</p>".encode()})
    with tenant_scope(cast.north):
        document = Document.objects.get()
    answer = cast.client(cast.ada).get(url("original", document))
    assert answer["Content-Disposition"] == 'attachment; filename="page.html"'
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert b"".join(answer.streaming_content) == f"<p>{HOSTILE} words</p>".encode()


def test_a_reader_reads_and_does_not_take_the_original(cast: Cast) -> None:
    document = make_document(cast)
    with tenant_scope(cast.north):
        actions.grant(document.corpus, cast.bo, "read", by=cast.ada)
    assert "Download the original" not in page(cast, document.get_absolute_url(), cast.bo)
    answer = cast.client(cast.bo).get(url("original", document))
    assert answer.status_code == 403
    assert "may export" in answer.content.decode()


READING = ("corpus", "freeze", "receive", "examples", "write_examples", "grant")


@pytest.mark.parametrize("name", READING)
def test_a_colleague_without_the_right_finds_no_corpus(cast: Cast, name: str) -> None:
    corpus = make_corpus(cast)
    eve = invite(cast.north, "eve@north.example", "Eve", Role.CURATOR, "eight green larks sing")
    for user in (cast.bo, cast.otto, eve):
        client = cast.client(user)
        codes = {
            client.get(url(name, corpus)).status_code,
            client.post(url(name, corpus)).status_code,
        }
        assert codes <= {403, 404, 405}, (user.name, codes)
        assert (user is not eve) or 404 in codes
    assert "Handbook" not in page(cast, url("list"), eve)


def test_a_reader_is_told_which_right_is_lacking(cast: Cast) -> None:
    corpus = make_corpus(cast)
    eve = invite(cast.north, "eve@north.example", "Eve", Role.CURATOR, "eight green larks sing")
    with tenant_scope(cast.north):
        actions.grant(corpus, eve, "read", by=cast.ada)
    page(cast, corpus.get_absolute_url(), eve)
    files = {"files": [SimpleUploadedFile("a.txt", b"one")]}
    for name, data in (
        ("receive", files),
        ("freeze", {}),
        ("grant", {"to": f"user:{eve.pk}", "right": "curate"}),
    ):
        answer = post(cast, url(name, corpus), data, eve)
        assert answer.status_code == 403
        assert "Ada Lind" in answer.content.decode()


def test_an_employee_may_read_and_is_offered_nothing_else(cast: Cast) -> None:
    corpus = make_document(cast).corpus
    with tenant_scope(cast.north):
        actions.grant(corpus, cast.bo, "curate", by=cast.ada)
    shown = page(cast, corpus.get_absolute_url(), cast.bo)
    assert url("freeze", corpus) not in shown
    assert url("receive", corpus) not in shown
    assert post(cast, url("receive", corpus), {}, cast.bo).status_code == 403


def test_a_right_taken_back_ends_with_the_next_request(cast: Cast) -> None:
    document = make_document(cast)
    with tenant_scope(cast.north):
        given = actions.grant(document.corpus, cast.bo, "read", by=cast.ada)
    client = cast.client(cast.bo)
    assert client.get(document.get_absolute_url()).status_code == 200
    assert post(cast, url("revoke", given)).status_code == 302
    assert client.get(document.get_absolute_url()).status_code == 404


# ---- live ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_the_card_is_drawn_again_when_a_file_is_settled(cast: Cast) -> None:
    upload = await sync_to_async(one_waiting)(cast)
    client = await sync_to_async(cast.async_client)(cast.ada)
    answer = await client.get(url("events", upload))
    assert answer["Content-Type"] == "text/event-stream"
    stream = answer.streaming_content.__aiter__()
    async with asyncio.timeout(PATIENCE):
        while "1 in progress" not in (await anext(stream)).decode():
            pass
        reading = asyncio.create_task(sync_to_async(read_all)(cast, upload))
        while "1 stored" not in (await anext(stream)).decode():
            pass
        await reading
    await stream.aclose()


def one_waiting(cast: Cast) -> Upload:
    return send(cast, make_corpus(cast), {"a.txt": b"words"})


def test_a_card_is_closed_to_whoever_may_not_read(cast: Cast) -> None:
    upload = making.send(cast, make_corpus(cast), {"a.txt": b"words"})
    assert cast.client(cast.bo).get(url("events", upload)).status_code == 404


# ---- pages and lost files ------------------------------------------------------------------------


def test_the_original_stands_beside_its_words_page_by_page(cast: Cast) -> None:
    corpus = make_corpus(cast)
    take_in(cast, corpus, {"a.pdf": making.as_pdf("Country: Peru")})
    with tenant_scope(cast.north):
        document = corpus.documents.get()
    shown = page(cast, document.get_absolute_url())
    picture = f"{url('page', document)}?n=1"
    assert picture in shown
    answer = cast.client(cast.ada).get(picture)
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/png")
    for beyond in ("2", "0", "-1", "x", "9" * 40):
        assert cast.client(cast.ada).get(f"{url('page', document)}?n={beyond}").status_code == 404


def test_a_lost_file_is_said_and_is_no_crash(cast: Cast) -> None:
    document = make_document(cast)
    with tenant_scope(cast.north):
        blobs().delete("original", document.original_digest)
        blobs().delete("text", document.text_digest)
        actions.grant(document.corpus, cast.ada, "export", by=cast.ada)
    answer = cast.client(cast.ada).get(url("original", document))
    assert answer.status_code == 410
    assert "restore it from a backup" in answer.content.decode()
    assert "gone from storage" in page(cast, document.get_absolute_url())
