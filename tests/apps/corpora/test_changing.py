"""Replacing, withdrawing, restoring and deleting documents, and scans that wait for recognition."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from apps.audit import holds
from apps.audit.models import AuditEvent
from apps.corpora import actions
from apps.corpora.actions import outcomes, review
from apps.corpora.models import Corpus, Document, Passage, StorageUse, Upload, UploadItem
from apps.corpora.parsing.recognition import data_folder, languages
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.storage import blobs
from tests.apps.corpora.making import file_as_text, file_texts, make_corpus, send
from tests.apps.corpora.test_pages import page, post, url
from tests.apps.registry.making import make_augmenter, make_composition
from tests.apps.runs.making import make_anchor
from tests.cast import Cast
from workers.housekeeping import lapse


@pytest.fixture
def two(cast: Cast) -> list[Document]:
    """Two documents of one corpus of Ada's."""
    return file_texts(cast, make_corpus(cast), {"a.txt": "Country: Peru", "b.txt": "Who: a@b.fr"})


def now(cast: Cast, document: Document) -> Document:
    with tenant_scope(cast.north):
        return Document.objects.select_related("corpus").get(pk=document.pk)


def frozen(cast: Cast, corpus: Corpus) -> int:
    with tenant_scope(cast.north):
        return actions.freeze(corpus, by=cast.ada).documents


def test_a_withdrawn_document_enters_no_snapshot_until_it_is_restored(
    cast: Cast, two: list[Document]
) -> None:
    one, _other = two
    for name, state, documents in (("withdraw", "withdrawn", 1), ("restore", "ready", 2)):
        assert post(cast, url(name, one)).status_code == 302
        assert now(cast, one).state == state
        assert frozen(cast, one.corpus) == documents
        assert "Country: Peru" in page(cast, one.get_absolute_url())


def test_a_withdrawn_document_shows_who_carries_it_and_the_way_to_forget_it(
    cast: Cast, two: list[Document]
) -> None:
    one, _other = two
    with tenant_scope(cast.north):
        snapshot = actions.freeze(one.corpus, by=cast.ada)
        augmenter = make_augmenter([snapshot], anchor=make_anchor(cast.ada))
        make_composition([augmenter], snapshot=snapshot, name="Pumps")
        actions.withdraw(one, by=cast.ada)
    address = reverse("forgetting:document", kwargs={"code": one.pk})
    assert address in page(cast, one.get_absolute_url())
    shown = page(cast, address)
    assert "1 version learned this document" in shown
    assert "Pumps v1" in shown
    late = file_texts(cast, one.corpus, {"c.txt": "Later words"})[0]
    address = reverse("forgetting:document", kwargs={"code": late.pk})
    assert "No model learned it" in page(cast, address)
    asked = {"corpus": one.corpus_id, "document": one.pk, "reason": "Asked."}
    told = post(cast, reverse("forgetting:plans"), asked)
    assert "Pumps v1" in page(cast, told["Location"])


def test_a_newer_file_takes_the_place_of_a_document(cast: Cast, two: list[Document]) -> None:
    one, _other = two
    file = SimpleUploadedFile("whatever.txt", b"Country: Chile")
    post(cast, url("replace", one), {"file": file})
    assert now(cast, one).state == "ready"  # until the new one is stored
    with tenant_scope(cast.north):
        upload = Upload.objects.latest("created_at")
    file_as_text(cast, upload)
    old = now(cast, one)
    assert old.state == "withdrawn"
    with tenant_scope(cast.north):
        new = Document.objects.get(pk=old.replaced_by_id)
    assert (new.path, new.state) == ("a.txt", "ready")
    assert "In its place stands:" in page(cast, one.get_absolute_url())


def test_a_newer_file_that_is_nearly_the_same_still_takes_the_place(cast: Cast) -> None:
    words = " ".join(f"word{n}" for n in range(200))
    [old] = file_texts(cast, make_corpus(cast), {"a.txt": words})
    post(cast, url("replace", old), {"file": SimpleUploadedFile("a.txt", f"{words} x".encode())})
    with tenant_scope(cast.north):
        upload = Upload.objects.latest("created_at")
    file_as_text(cast, upload)
    with tenant_scope(cast.north):
        states = dict(Document.objects.values_list("size", "state"))
    assert sorted(states.values()) == ["ready", "withdrawn"]


def test_a_newer_file_that_is_rejected_replaces_nothing(cast: Cast, two: list[Document]) -> None:
    post(cast, url("replace", two[0]), {"file": SimpleUploadedFile("a.txt", b"")})
    assert now(cast, two[0]).state == "ready"


# ---- deleting ------------------------------------------------------------------------------------


def test_deleting_leaves_no_word_and_no_file(
    cast: Cast, two: list[Document], django_capture_on_commit_callbacks: Any
) -> None:
    one, _other = two
    with tenant_scope(cast.north):
        before = StorageUse.objects.get().used
        actions.withdraw(one, by=cast.ada)
    with django_capture_on_commit_callbacks(execute=True):
        post(cast, url("delete", one))
    gone = now(cast, one)
    assert (gone.state, gone.title, gone.size) == ("deleted", "forgotten", 0)
    with tenant_scope(cast.north):
        assert not Passage.objects.filter(document=one).exists()
        assert not blobs().exists("original", one.original_digest)
        assert not blobs().exists("text", one.text_digest)
        assert StorageUse.objects.get().used == before - one.size
        upload = Upload.objects.get()
        assert upload.tally().received == upload.tally().stored == 2
    assert "Country" not in page(cast, one.corpus.get_absolute_url())
    assert "It is deleted" in page(cast, one.get_absolute_url())
    [again] = file_texts(cast, one.corpus, {"a.txt": "Country: Peru"})
    assert (again.state, again.pk != one.pk) == ("ready", True)


def refusal(cast: Cast, document: Document) -> str:
    with tenant_scope(cast.north), pytest.raises(InputError) as refused:
        actions.delete(document, by=cast.ada)
    return refused.value.code


def test_what_may_have_been_learned_is_forgotten_and_not_deleted(
    cast: Cast, two: list[Document]
) -> None:
    one, _other = two
    assert refusal(cast, one) == "document.standing"
    frozen(cast, one.corpus)
    with tenant_scope(cast.north):
        actions.withdraw(one, by=cast.ada)
    assert refusal(cast, one) == "document.learned"
    assert post(cast, url("delete", one))["Location"] == one.get_absolute_url()


def test_withdrawn_documents_lapse_after_their_days_unless_held(
    cast: Cast, two: list[Document]
) -> None:
    corpus = two[0].corpus
    with tenant_scope(cast.north):
        for each in two:
            actions.withdraw(each, by=cast.ada)
        Document.objects.filter(pk=two[0].pk).update(
            withdrawn_at=timezone.now() - timedelta(days=8)
        )
    lapse()
    assert now(cast, two[0]).state == "withdrawn"
    post(cast, url("keeping", corpus), {"days": "7"})
    with tenant_scope(cast.north):
        hold = holds.place(
            "corpus", corpus, by=cast.ada, reason="A court.", review_on=date(2030, 1, 1)
        )
    lapse()
    assert refusal(cast, two[0]) == "hold.stands"
    with tenant_scope(cast.north):
        holds.lift(hold, by=cast.ada)
    lapse()
    assert [now(cast, each).state for each in two] == ["deleted", "withdrawn"]
    for _ in range(2):
        lapse()
    with tenant_scope(cast.north):
        AuditEvent.objects.get(action="document.lapse", facts={"documents": 1})
        assert AuditEvent.objects.filter(action="document.lapse").count() == 1


def test_a_day_on_which_nothing_lapsed_leaves_one_line_that_says_so(
    cast: Cast, two: list[Document]
) -> None:
    post(cast, url("keeping", two[0].corpus), {"days": "7"})
    for _ in range(3):
        lapse()
    with tenant_scope(cast.north):
        assert AuditEvent.objects.get(action="document.lapse").facts == {"documents": 0}


def test_a_text_that_another_document_shares_stays(cast: Cast) -> None:
    corpora = [make_corpus(cast, name) for name in ("One", "Other")]
    one, other = (file_texts(cast, each, {"a.txt": "The same"})[0] for each in corpora)
    with tenant_scope(cast.north):
        actions.withdraw(one, by=cast.ada)
        actions.delete(one, by=cast.ada)
        assert actions.text_of(other) == "The same"


# ---- what older releases left --------------------------------------------------------------------


def test_documents_from_before_screening_are_screened_before_they_are_frozen(cast: Cast) -> None:
    corpus = make_corpus(cast)
    [old] = file_texts(cast, corpus, {"a.txt": "The card is 4111 1111 1111 1111."})
    with tenant_scope(cast.north):
        old.flags.all().delete()
        Document.objects.update(screened=False, state="ready", found={})
        with pytest.raises(InputError) as refused:
            actions.freeze(corpus, by=cast.ada)
        assert refused.value.code == "corpus.screening"
        assert [actions.screen_again(corpus.pk) for _ in range(2)] == [1, 0]
        assert not review.behind(corpus).exists()
    assert now(cast, old).state == "held"


# ---- scans ---------------------------------------------------------------------------------------


def test_scans_are_kept_and_read_again_when_text_can_be_recognised(cast: Cast) -> None:
    corpus = make_corpus(cast)
    upload = send(cast, corpus, {"scan.pdf": b"%PDF-1.4 pictures", "bad.pdf": b"%PDF-1.4"})
    with tenant_scope(cast.north):
        for item in upload.items.all():
            claimed = actions.begin(item.pk)
            assert claimed is not None
            code = "pdf.no_text" if item.path == "scan.pdf" else "pdf.broken"
            outcomes.reject(claimed, code, pages=3)
    shown = page(cast, f"{corpus.get_absolute_url()}?tab=uploads")
    assert "1 PDF holds pictures of pages and no text" in shown
    post(cast, url("retry_scans", corpus))
    with tenant_scope(cast.north):
        states = dict(UploadItem.objects.values_list("path", "state"))
    assert states == {"scan.pdf": "received", "bad.pdf": "rejected"}


def test_language_data_is_found_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    assert data_folder() == ""
    for name in ("eng", "deu", "osd"):
        (tmp_path / f"{name}.traineddata").touch()
    assert data_folder() == str(tmp_path)
    assert languages(str(tmp_path)) == "deu+eng"
