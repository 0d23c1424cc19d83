"""Questions written from what documents state: added once, about what models may learn alone."""

from __future__ import annotations

import pytest

from apps.corpora import actions
from apps.corpora.actions import writing
from apps.corpora.models import Corpus, Document, Example
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.selfstudy.tasks import TASKS, UNANSWERABLE
from tests.apps.corpora.making import make_corpus, take_in
from tests.cast import Cast

TABLE = "Product,Made in,Introduced\n" + "".join(
    f"Thing{at},Land{at},{2000 + at}\n" for at in range(8)
)


@pytest.fixture
def corpus(cast: Cast) -> Corpus:
    corpus = make_corpus(cast)
    take_in(cast, corpus, {"catalogue.csv": TABLE.encode()})
    return corpus


def test_written_questions_are_added_once(cast: Cast, corpus: Corpus) -> None:
    with tenant_scope(cast.north):
        told = actions.write_examples(corpus, by=cast.ada)
        assert set(told.kinds) == set(TASKS)
        assert told.receipt.added == corpus.examples.count() == sum(told.kinds.values())
        assert (told.receipt.rejected, told.read, told.of) == ([], 1, 1)
        again = actions.write_examples(corpus, by=cast.ada)
        assert (again.receipt.added, again.receipt.duplicates) == (0, told.receipt.added)


def test_refusals_are_written_where_they_are_wanted(cast: Cast, corpus: Corpus) -> None:
    with tenant_scope(cast.north):
        assert UNANSWERABLE not in actions.write_examples(corpus, by=cast.ada).kinds
        assert UNANSWERABLE in actions.write_examples(corpus, refusals=True, by=cast.ada).kinds


def test_what_is_left_out_of_training_is_not_asked_about(cast: Cast, corpus: Corpus) -> None:
    with tenant_scope(cast.north):
        actions.exclude(Document.objects.get(), by=cast.ada)
        with pytest.raises(InputError) as refused:
            actions.write_examples(corpus, by=cast.ada)
        assert refused.value.code == "examples.nothing"
        assert not Example.objects.exists()


def test_a_large_corpus_is_looked_at_in_part(
    cast: Cast, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(cast, corpus, {"other.csv": b"Product,Made in\nZor,Peru\nVek,Cuba\n"})
    monkeypatch.setattr(writing, "READ", 10)
    with tenant_scope(cast.north):
        told = actions.write_examples(corpus, by=cast.ada)
    assert (told.read, told.of) == (1, 2)


def test_the_page_tells_what_was_written(cast: Cast, corpus: Corpus) -> None:
    address = f"/corpora/{corpus.pk}/examples/write/"
    told = cast.client(cast.ada).post(address, {"refusals": "on"}, follow=True).content.decode()
    assert "written from 1 of 1 documents, 0 known already." in told
    assert "Thing" in told
    assert cast.client(cast.ada).get(address).status_code == 405
