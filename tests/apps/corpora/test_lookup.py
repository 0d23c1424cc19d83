"""Which passages a model is given to read: those with the question's rare words, and no others."""

from __future__ import annotations

import pytest

from apps.corpora.actions import create_corpus
from apps.corpora.lookup import MOST, passages_for
from apps.corpora.models import Corpus, Document
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import write
from tests.cast import Cast

COMMON = [f"What the {thing} of it is, is what it is. " for thing in ("size", "age", "price")]
RARE = "The MX-200 withstands 40 bar. "


@pytest.fixture
def corpus(cast: Cast) -> Corpus:
    with tenant_scope(cast.north):
        made = create_corpus("papers", by=cast.ada)
        write(made, "notes.md", *COMMON * 4, RARE)
    return made


def found(cast: Cast, corpus: Corpus, question: str) -> list[str]:
    with tenant_scope(cast.north):
        return [passage.body for passage in passages_for([corpus.pk], question)]


def test_a_rare_word_counts_more_than_many_common_ones(cast: Cast, corpus: Corpus) -> None:
    best = found(cast, corpus, "What is the pressure of it that the MX-200 withstands, what is it?")
    assert best[0] == RARE
    assert len(best) == MOST


def test_nothing_is_found_where_no_word_stands(cast: Cast, corpus: Corpus) -> None:
    for question in ("", "…!?", "Zeppelin", "'); DROP TABLE corpora_passage; --", "a:* & !b | <->"):
        assert found(cast, corpus, question) == []


def test_a_question_of_many_thousand_words_is_looked_up(cast: Cast, corpus: Corpus) -> None:
    assert found(cast, corpus, "MX-200 " + " ".join(f"w{n}" for n in range(5000))) == [RARE]


def test_withdrawn_documents_other_corpora_and_tenants_are_not_read(
    cast: Cast, corpus: Corpus
) -> None:
    with tenant_scope(cast.north):
        other = create_corpus("others", by=cast.ada)
        assert passages_for([other.pk], "MX-200") == []
    with tenant_scope(cast.south):
        assert passages_for([corpus.pk], "MX-200") == []
    with tenant_scope(cast.north):
        assert passages_for([corpus.pk], "MX-200") != []
        Document.objects.update(state="withdrawn")
        assert passages_for([corpus.pk], "MX-200") == []
