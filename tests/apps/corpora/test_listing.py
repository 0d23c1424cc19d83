"""Finding documents among many: pages by key, filters, acts by filter, and their words."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from apps.audit.models import AuditEvent
from apps.corpora import actions, search
from apps.corpora.models import Corpus, Document
from apps.corpora.passages import ROOM, pieces
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint import counting
from tests.apps.corpora.making import make_corpus, make_document, take_in
from tests.cast import Cast


def add(corpus: Corpus, count: int, **values: Any) -> None:
    """So many rows, without files behind them: the list reads rows alone."""
    Document.objects.bulk_create(
        Document(
            corpus=corpus,
            title=f"Document {n}",
            path=f"folder/{n % 7}/{n}.txt",
            media_type="text/plain",
            original_digest=f"{uuid4().hex}{uuid4().hex}",
            text_digest="0" * 64,
            **values,
        )
        for n in range(count)
    )


def test_the_list_asks_as_many_questions_for_many_as_for_few(cast: Cast) -> None:
    client, asked = cast.client(cast.ada), []
    for count in (60, 600):
        with tenant_scope(cast.north):
            corpus = actions.create_corpus(f"Of {count}", by=cast.ada)
            add(corpus, count)
        client.get(corpus.get_absolute_url())
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(corpus.get_absolute_url()).status_code == 200
        asked.append(len(queries))
    assert asked[0] == asked[1]


def test_filters_stand_in_the_address_with_their_counts(cast: Cast) -> None:
    with tenant_scope(cast.north):
        corpus = actions.create_corpus("Many", by=cast.ada)
        add(corpus, 3)
        add(corpus, 2, state="excluded", left_out=True)
    shown = cast.client(cast.ada).get(f"{corpus.get_absolute_url()}?state=excluded")
    page = shown.content.decode()
    assert "2 documents." in page
    assert "ready (3)" in page
    assert "left out (2)" in page
    none = cast.client(cast.ada).get(f"{corpus.get_absolute_url()}?q=nothing-so-named")
    assert "No document fits these filters." in none.content.decode()
    assert (
        cast.client(cast.ada).get(f"{corpus.get_absolute_url()}?after=x&state=%00").status_code
        == 200
    )


def test_a_count_beyond_its_bound_says_so(cast: Cast, monkeypatch: Any) -> None:
    monkeypatch.setattr(counting, "COUNTED", 2)
    with tenant_scope(cast.north):
        corpus = actions.create_corpus("Many", by=cast.ada)
        add(corpus, 5)
        assert counting.said(*counting.counted(corpus.documents.all())) == "2+"


def test_an_act_by_filter_reaches_beyond_the_page_and_no_further(cast: Cast) -> None:
    with tenant_scope(cast.north):
        corpus = actions.create_corpus("Many", by=cast.ada)
        add(corpus, 80, language="deu")
        add(corpus, 3, language="eng", state="x")
        Document.objects.update(state="ready")
    client = cast.client(cast.ada)
    address = reverse("corpora:bulk", kwargs={"code": corpus.pk})
    answer = client.post(address, {"language": "deu", "act": "withdraw"}, follow=True)
    assert "80 documents changed." in answer.content.decode()
    with tenant_scope(cast.north):
        states = corpus.documents.order_by("language").values_list("language", "state").distinct()
        assert sorted(states) == [("deu", "withdrawn"), ("eng", "ready")]
        assert AuditEvent.objects.get(action="document.withdraw").facts == {"documents": 80}
    client.post(address, {"act": "restore"})
    with tenant_scope(cast.north):
        assert set(corpus.documents.values_list("state", flat=True)) == {"ready"}
    wrong = client.post(address, {"act": "burn"}, follow=True).content.decode()
    assert "Choose what becomes of these documents." in wrong


def test_what_is_withdrawn_is_in_no_snapshot_and_comes_back_as_it_was(cast: Cast) -> None:
    document = make_document(cast, text="Pay with 4111 1111 1111 1111 today.")
    with tenant_scope(cast.north):
        rows = Document.objects.filter(pk=document.pk)
        actions.act_on(document.corpus, rows, "withdraw", by=cast.ada)
        document.refresh_from_db()
        assert document.state == "withdrawn"
        actions.act_on(document.corpus, rows, "restore", by=cast.ada)
        document.refresh_from_db()
        assert document.state == "held"


# ---- the words -----------------------------------------------------------------------------------


def hits(cast: Cast, corpus: Corpus, query: str) -> list[str]:
    with tenant_scope(cast.north):
        return [
            "".join(f"<{words}>" if is_hit else words for words, is_hit in hit.parts)
            for hit in search.find(corpus, query)
        ]


def test_words_are_found_and_marked(cast: Cast) -> None:
    corpus = make_corpus(cast)
    take_in(cast, corpus, {"a.txt": b"The gauge is made in Peru.", "b.txt": b"Nothing of it."})
    assert hits(cast, corpus, "peru gauge") == ["The <gauge> is made in <Peru>."]
    assert hits(cast, corpus, '"made in Peru"') != []
    assert hits(cast, corpus, "gauge -peru") == []
    assert hits(cast, corpus, "Peruu")[0].startswith("The gauge")  # by its letters
    assert hits(cast, corpus, "\0 ") == []


def test_a_search_stays_in_its_corpus_and_shows_markup_as_text(cast: Cast) -> None:
    corpus = make_corpus(cast)
    take_in(cast, corpus, {"a.txt": b"peru <script>alert(1)</script>"})
    assert hits(cast, make_corpus(cast, "Other"), "peru") == []
    address = reverse("corpora:search", kwargs={"code": corpus.pk})
    page = cast.client(cast.ada).get(address, {"q": "peru"}).content.decode()
    assert "<mark>peru</mark>" in page
    assert "<script>alert(1)" not in page


def test_a_search_that_takes_too_long_says_so(cast: Cast, monkeypatch: Any) -> None:
    def slow(*_: object) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")
        return []

    monkeypatch.setattr(search, "SECONDS", 0.05)
    monkeypatch.setattr(search, "_by_words", slow)
    corpus = make_corpus(cast)
    with tenant_scope(cast.north), pytest.raises(InputError) as refused:
        search.find(corpus, "peru")
    assert refused.value.code == "search.slow"


@effort(max_examples=40, deadline=None)
@given(st.text(alphabet="ab \n", max_size=4000), st.sets(st.integers(1, 3999), max_size=5))
def test_passages_lose_no_word_and_cross_no_page(text: str, breaks: set[int]) -> None:
    starts = [0, *sorted(at for at in breaks if at < len(text))] if breaks else []
    cut = pieces(text, starts)
    assert "".join("".join(text[p.start : p.end].split()) for p in cut) == "".join(text.split())
    assert all(0 < p.end - p.start <= ROOM for p in cut)
    for piece in cut:
        begin = starts[piece.page - 1] if starts else 0
        end = starts[piece.page] if starts and piece.page < len(starts) else len(text)
        assert begin <= piece.start < piece.end <= end


def test_questions_are_found_by_their_words(cast: Cast) -> None:
    with tenant_scope(cast.north):
        corpus = actions.create_corpus("Asked", by=cast.ada)
        rows = [
            {"question": "Where is the lamp made?", "answer": "In Peru.", "entity": "Lamp"},
            {"question": "Who sells the chair?", "answer": "Nobody.", "entity": "Chair"},
        ]
        actions.add_examples(corpus, rows, by=cast.ada)
    ada = cast.client(cast.ada)

    def shown(words: str) -> str:
        told = {"tab": "examples", "q": words}
        return ada.get(corpus.get_absolute_url(), told).content.decode()

    assert "the lamp" in shown("PERU")
    assert "the chair" not in shown("PERU")
    assert "No question has these words." in shown("100 %_")
