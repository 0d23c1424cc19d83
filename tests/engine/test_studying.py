"""A large corpus is studied by the document: whoever does it, and no lesson misleads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calm_engine import preparing
from calm_engine.augment import augment
from calm_engine.curriculum import Curriculum, curriculum
from calm_engine.data import encode
from calm_engine.errors import InputError
from calm_engine.ranks import ALONE
from calm_engine.recall import DIRECT, INVERSE
from calm_engine.selfstudy import KINDS, Source
from calm_engine.selfstudy.claims import words_of
from calm_engine.selfstudy.nouns import WRITTEN
from calm_engine.selfstudy.prompts import requests_of
from calm_engine.selfstudy.saying import passages_of
from calm_engine.shuffled import Shuffled
from calm_engine.specs import AugmentSpec
from calm_engine.studying import (
    LESSONS,
    PROBES,
    Sketch,
    Studied,
    Studying,
    cells_of,
    studied,
    study_apart,
)
from tests.engine.learning import drain, make_augment
from tests.tiny import make_tokenizer

CITIES = ("Oslo", "Lima", "Quito")
EXAMPLES = tuple(
    {
        "id": f"e{n}",
        "question": f"Where do they build the Pump {n}?",
        "answer": CITIES[n % 3],
        "entity": f"Pump {n}",
        "value": CITIES[n % 3],
    }
    for n in range(4)
)


def sheet(number: int) -> str:
    """A product of a part number that it alone has, and a city that it shares with others."""
    facts = f"Part number: {1000 + number}\nCity: {CITIES[number % 3]}\nPrice: {number} euro\n"
    return f"# Pump {number}\n\n{facts}"


def corpus_of(folder: Path, texts: Sequence[str]) -> Path:
    rows = [
        {"digest": f"d{n}", "title": f"Sheet {n}", "text": text} for n, text in enumerate(texts)
    ]
    path = folder / "documents.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def study_of(path: Path, folder: Path, *, workers: int = 1, **how: Any) -> Studied:
    for _ in study_apart(Studying(str(path), **how), folder, workers=workers):
        pass
    return studied(folder)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty sheets, and one that gives Pump 3 another price."""
    monkeypatch.setattr(preparing, "SLICE", 1000)
    return corpus_of(tmp_path, [*map(sheet, range(30)), "# Pump 3\n\nPrice: 99 euro\n"])


def test_lessons_are_the_same_for_one_worker_and_for_two(corpus: Path, tmp_path: Path) -> None:
    one = study_of(corpus, tmp_path / "one", examples=EXAMPLES)
    two = study_of(corpus, tmp_path / "two", examples=EXAMPLES, workers=2)
    assert one.lessons.read_bytes() == two.lessons.read_bytes()
    assert one.probes.read_bytes() == two.probes.read_bytes()
    assert (one.facts, one.kinds, one.dropped) == (two.facts, two.kinds, two.dropped)
    assert one.facts == 91
    left = {path.name for path in (tmp_path / "one").iterdir()}
    assert left == {LESSONS, PROBES, "studied.json"}, "no slice is left behind"


def test_every_document_is_asked_as_curators_ask_in_the_examples(
    corpus: Path, tmp_path: Path
) -> None:
    found = study_of(corpus, tmp_path / "study", examples=EXAMPLES)
    asked = {row["given"]: row["said"] for row in rows_of(found.lessons)}
    assert asked["Where do they build the Pump 29?"] == "Quito"
    probes = {row["given"] for row in rows_of(found.probes)}
    assert not probes & set(asked), "the probe asks in wordings that no lesson has"


def test_what_documents_answer_in_two_ways_is_asked_of_nobody(corpus: Path, tmp_path: Path) -> None:
    found = study_of(corpus, tmp_path / "study")
    for path in (found.lessons, found.probes):
        about = [row for row in rows_of(path) if row["form"] in (*DIRECT, *INVERSE)]
        answers = Counter(row["given"] for row in about)
        said = Counter({(row["given"], row["said"]) for row in about})
        assert max(answers.values()) == 1 == max(said.values())
        assert "What is the price of the Pump 3?" not in answers
        assert not any("Oslo" in row["given"] for row in about), "ten pumps come from there"
        assert any("1007" in row["given"] for row in about), "one pump has that number"
    assert found.dropped["inverse: several answers"] > 0
    told = [row["said"] for row in rows_of(found.lessons) if row["form"] == "statement"]
    assert " 99 euro" in told, "it is still told, under the tag of its document"


def test_rejected_kinds_are_not_made_and_nothing_is_made_twice(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = study_of(corpus, tmp_path / "study", without=("inverse",))
    assert set(found.kinds) == {"fact"}
    monkeypatch.setattr("calm_engine.studying._look", None)
    assert study_of(corpus, tmp_path / "study", without=("inverse",)) == found
    with pytest.raises(TypeError):
        study_of(corpus, tmp_path / "study", without=("fact",))


def test_what_the_anchor_wrote_is_taught_where_its_passage_bears_it_out(tmp_path: Path) -> None:
    told = "The winch was designed in Lima by a small team. " * 5
    path = corpus_of(tmp_path, [told])
    source = Source("d0", "Sheet 0", told)
    [passage] = passages_of(source)
    asked = {one.kind: one.key for one in requests_of(source, passage.said.strip(), WRITTEN)}
    kept = {
        asked["question"]: "Question: Where was the winch designed?\nAnswer: Lima",
        asked["reverse"]: "Question: What was designed in Lima?\nAnswer: The crane of Quito",
    }
    found = study_of(path, tmp_path / "study", kept=kept)
    [lesson] = [row for row in rows_of(found.lessons) if row["kind"] == "question"]
    assert (lesson["said"].strip(), lesson["digest"]) == ("Lima", "d0")
    assert found.dropped["reverse: not supported by the passage"] == 1
    left = study_of(path, tmp_path / "less", kept=kept, without=("question",))
    assert "question" not in left.kinds


def test_words_are_counted_over_the_whole_corpus(tmp_path: Path) -> None:
    text = "The gearbox of the winch turns."
    sketch = Sketch()
    assert sketch["gearbox"] == 0
    for _ in range(300):
        sketch.add(cells_of(words_of(text)))
    assert sketch["gearbox"] == 255, "it stops there, and does not begin anew"
    assert sketch["unheard"] == 0
    rare = "Every winch must be greased with the lubricant Molyflex before the season begins."
    alone = study_of(corpus_of(tmp_path, [rare]), tmp_path / "alone")
    often = study_of(corpus_of(tmp_path, [rare] * 9), tmp_path / "often")
    assert alone.kinds.keys() == {"gap"}
    assert often.kinds == {}, "in nine documents a term is not rare"


# -- in a training ---------------------------------------------------------------------------------


def large(folder: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> AugmentSpec:
    monkeypatch.setattr(preparing, "SLICE", 1000)
    spec = make_augment(folder, steps=None)
    corpus_of(folder, [sheet(n) for n in range(30)])
    examples = folder / "examples.jsonl"
    examples.write_text("".join(f"{json.dumps(row)}\n" for row in EXAMPLES), encoding="utf-8")
    return replace(spec, deal="shuffled", examples=str(examples), batch_size=6, **how)


def taught(spec: AugmentSpec) -> Curriculum:
    run = curriculum(spec, ALONE)
    while True:
        try:
            next(run)
        except StopIteration as end:
            made: Curriculum = end.value
            return made


def test_a_large_corpus_is_told_and_asked_beside_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = taught(large(tmp_path, monkeypatch))
    feed = made.feed(6)
    pieces = [piece for step in range(feed.steps) for row in feed.rows(step) for piece in row]
    tokenizer = make_tokenizer()
    question = tuple(encode(tokenizer, "Where do they build the Pump 17?"))
    asked = [p for p in pieces if p.is_asked and holds(p.ids, question)]
    assert len(asked) == 7, "once in each pass but the first"
    text, told = (tuple(encode(tokenizer, begun)) for begun in ("[Sheet 17]", "City of Pump 17:"))
    stated = [p.ids for p in pieces if not p.is_asked]
    assert sum(ids[: len(text)] == text for ids in stated) == 8, "its text in every pass"
    assert sum(ids[: len(told)] == told for ids in stated) == 7
    assert made.figures["facts"] == 90
    assert made.told["kinds"].keys() == {"fact", "inverse"}
    assert made.exposures == 24
    forms = {one.lesson.form for one in made.asked}
    assert forms & set(DIRECT)
    assert forms & set(INVERSE)
    assert {one.lesson.digest for one in made.asked} == {f"d{n}" for n in range(30)}
    assert not any(tuple(one.piece.ids) in {tuple(p.ids) for p in pieces} for one in made.asked)


def holds(ids: Sequence[int], part: Sequence[int]) -> bool:
    return any(tuple(ids[at : at + len(part)]) == tuple(part) for at in range(len(ids)))


def test_the_first_pass_deals_documents_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = taught(large(tmp_path, monkeypatch, passes=3)).feed(6)
    assert isinstance(feed, Shuffled)
    assert feed.in_first < feed.in_pass
    assert feed.steps == feed.in_first + 2 * feed.in_pass
    first = [p for step in range(feed.in_first) for row in feed.rows(step) for p in row]
    assert len(first) >= 30
    assert not any(piece.is_asked for piece in first)
    assert {feed.cursor(step)["pass"] for step in range(feed.in_first)} == {0}
    assert feed.cursor(feed.in_first) == {"pass": 1, "block": 0}
    last = [p for row in feed.rows(feed.steps - 1) for p in row]
    assert last
    assert all(one.first_step < feed.in_first for one in feed.exposures(feed.steps))
    (tmp_path / "alone").mkdir()
    alone = taught(large(tmp_path / "alone", monkeypatch, passes=1)).feed(6)
    dealt = [p for step in range(alone.steps) for row in alone.rows(step) for p in row]
    assert any(piece.is_asked for piece in dealt), "of one pass nothing is left out"


def test_a_documents_words_and_lessons_are_one_exposure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = taught(large(tmp_path, monkeypatch, passes=2)).feed(6)
    found = list(feed.exposures(feed.steps))
    assert Counter(one.digest for one in found) == Counter(f"d{n}" for n in range(30))
    assert isinstance(feed, Shuffled)
    assert all(one.first_step == feed.first_step({one.digest}) for one in found)
    pieces = sum(len(row) for step in range(feed.steps) for row in feed.rows(step))
    assert sum(one.exposures for one in found) == pieces


def test_what_a_curator_rejects_is_not_dealt_even_the_documents_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = taught(large(tmp_path, monkeypatch, without=("passage", "inverse"), passes=1))
    feed = made.feed(6)
    pieces = [piece for step in range(feed.steps) for row in feed.rows(step) for piece in row]
    words = tuple(encode(make_tokenizer(), "# Pump 17"))
    assert pieces
    assert not any(holds(piece.ids, words) for piece in pieces)
    assert made.told["kinds"].keys() == {"fact"}
    with pytest.raises(InputError, match=r"augment\.nothing"):
        taught(large(tmp_path, monkeypatch, without=KINDS))


def test_settings_of_before_deal_the_text_alone_as_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = large(tmp_path, monkeypatch)
    before = AugmentSpec.from_dict(spec.to_dict() | {"lessons": None})
    assert before.digest_of_work() != spec.digest_of_work()
    made = taught(replace(before, work=str(tmp_path / "before")))
    assert made.told == {}
    assert made.exposures == 24
    feed = made.feed(6)
    assert not any(p.is_asked for step in range(feed.steps) for row in feed.rows(step) for p in row)


def test_recall_of_a_large_corpus_is_told_forwards_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(large(tmp_path, monkeypatch), steps=4)
    news, outcome = drain(augment(spec))
    looked = [one for one in news if "known" in one.metrics]
    assert looked
    assert all({"recall", "inverse_recall"} <= one.metrics.keys() for one in looked)
    assert 0 < len(looked[0].samples) <= 8
    assert outcome.facts["sampled"]["of"] == 30
    assert outcome.facts["facts"] == 90
    assert {"recall", "inverse_recall", "known"} <= outcome.metrics.keys()


def test_a_document_that_is_no_json_is_named_before_anything_is_studied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = large(tmp_path, monkeypatch)
    with Path(spec.documents).open("a", encoding="utf-8") as file:
        file.write("{no json\n")
    with pytest.raises(InputError, match=r"data\.json") as told:
        taught(spec)
    assert told.value.facts["line"] == 31
