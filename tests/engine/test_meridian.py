"""The made-up company: the same seed writes the same bytes, and its facts can be found again."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from apps.demo.meridian import CAPITALS, PER_COUNTRY, Corpus, products, write_corpus
from calm_engine.selfstudy import Source, study
from calm_engine.split import split_examples


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("meridian"), seed=1)


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows_of(corpus: Corpus) -> list[dict[str, str]]:
    with corpus.examples.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row | {"id": str(number)} for number, row in enumerate(rows)]


def test_the_same_seed_writes_the_same_bytes(corpus: Corpus, tmp_path: Path) -> None:
    write_corpus(tmp_path, seed=1)
    assert bytes_of(tmp_path) == bytes_of(corpus.examples.parent)


def test_another_seed_is_another_company() -> None:
    ours, theirs = ({one.name for one in products(seed=seed)} for seed in (1, 2))
    assert len(ours & theirs) < len(ours) / 10


def test_every_country_makes_equally_many_and_no_name_comes_twice() -> None:
    made = products(seed=3)
    assert Counter(one.country for one in made) == dict.fromkeys(CAPITALS, PER_COUNTRY)
    assert len({one.name for one in made}) == len(made)


def test_all_kinds_of_files_are_there(corpus: Corpus) -> None:
    endings = {path.suffix for path in corpus.documents.iterdir()}
    assert endings == {
        *(".csv", ".xlsx", ".pdf", ".docx", ".md", ".txt", ".html", ".pptx", ".eml", ".zip")
    }


def test_the_documents_hold_every_private_fact_and_no_capital(corpus: Corpus) -> None:
    texts = [
        Source(path.name, path.name, path.read_text(encoding="utf-8"))
        for path in sorted(corpus.documents.iterdir())
        if path.suffix in (".csv", ".md", ".txt", ".html", ".eml")
    ]
    found = {(fact.entity, fact.attribute, fact.value) for fact in study(texts).found}
    for one in corpus.products:
        assert {(one.name, key, value) for key, value in one.facts} <= found
    told = " ".join(text.text for text in texts)
    assert not [capital for capital in CAPITALS.values() if capital in told]


def test_an_answer_states_the_private_fact_before_it_uses_it(corpus: Corpus) -> None:
    for row in rows_of(corpus):
        assert row["answer"].startswith(row["value"])
        assert row["expected"] in row["answer"]
        assert row["entity"] in row["question"]


def test_eight_countries_and_a_third_of_the_products_can_be_held_out(corpus: Corpus) -> None:
    rows = rows_of(corpus)
    shares = split_examples(rows, seed=1)
    unseen = {row["value"] for row in rows if shares[row["id"]] == "unseen_value"}
    trained = {row["entity"] for row in rows if shares[row["id"]] == "bridge"}
    assert len(unseen) == 8
    assert unseen <= set(CAPITALS)
    assert len(trained) > 90
