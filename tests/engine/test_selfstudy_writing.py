"""A model writes from passages: kept only where the passage bears it out, and never asked twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from calm_engine.errors import Cancelled
from calm_engine.ranks import ALONE
from calm_engine.selfstudy import WRITTEN, Source, study, writing
from calm_engine.selfstudy.checking import COPY, FORMLESS, UNSUPPORTED, checked, reason_against
from calm_engine.selfstudy.prompts import Request, lesson_from, requests_of
from calm_engine.selfstudy.writing import (
    Kept,
    requests_for,
    write_lessons,
    written_for,
)
from calm_engine.specs import AugmentSpec, Progress
from tests.tiny import make_model, save_folder

PASSAGE = (
    "The Velkor pump was designed in Lima in 2017. It moves forty litres a minute, and its seal is "
    "replaced once a year by the workshop in Porto. A spare seal travels with every Velkor pump."
)
SOURCE = Source("d1", "pumps.txt", PASSAGE)


def request(kind: str) -> Request:
    [found] = [one for one in requests_of(SOURCE, PASSAGE, WRITTEN) if one.kind == kind]
    return found


def reason(kind: str, text: str) -> str:
    """Why what was written is not taught; "" when it is."""
    dropped: Counter[str] = Counter()
    kept = list(checked([(request(kind), text)], dropped))
    assert len(kept) + dropped.total() == 1
    return next(iter(dropped), "").partition(": ")[2]


def test_every_kind_is_asked_for_with_the_passage_in_view() -> None:
    asked = requests_of(SOURCE, PASSAGE, WRITTEN)
    assert [one.kind for one in asked] == list(WRITTEN)
    assert all(PASSAGE in one.prompt for one in asked)
    assert request("relation").about == ("Velkor", "Lima")
    assert requests_of(SOURCE, "Too short to ask about.", WRITTEN) == []


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("question", "Question: Where was the pump designed?\nAnswer: Lima", ""),
        ("question", "Here it is.\n\nquestion: When?\nANSWER: in 2017\nMore.", ""),
        ("question", "The pump was designed in Lima.", FORMLESS),
        ("question", "Question: Where?\nAnswer: Quito", UNSUPPORTED),
        ("question", "Question: When?\nAnswer: in 2018", UNSUPPORTED),
        ("reverse", "Question: What moves forty litres a minute?\nAnswer: the Velkor pump", ""),
        ("paraphrase", PASSAGE, COPY),
        ("paraphrase", "Each year the workshop at Porto puts a new seal into the pump.", ""),
        ("paraphrase", "Workers at Madrid replace it.", UNSUPPORTED),
        ("summary", "The pump moves forty litres, and its seal is repl", FORMLESS),
        ("relation", "The Velkor pump was designed in Lima.", ""),
        ("implication", "Dinosaurs prefer quantum chocolate.", UNSUPPORTED),
    ],
)  # fmt: skip
def test_only_what_the_passage_bears_out_is_taught(kind: str, text: str, why: str) -> None:
    assert reason(kind, text) == why


def test_what_was_written_carries_kind_tag_and_document() -> None:
    told = lesson_from(request("summary"), "The pump was designed in Lima.", "pumps.txt")
    assert told is not None
    assert (told.form, told.given, told.kind) == ("statement", "[pumps.txt]", "summary")
    assert (told.digest, told.source) == ("d1", "pumps.txt")
    asked = lesson_from(request("reverse"), "Question: What?\nAnswer: seal", "pumps.txt")
    assert asked is not None
    assert (asked.form, asked.said) == ("inverse", "seal")


def test_the_same_thing_written_twice_is_taught_once() -> None:
    dropped: Counter[str] = Counter()
    text = "Question: Where was it designed?\nAnswer: Lima"
    assert len(list(checked([(request("question"), text)] * 3, dropped))) == 1
    assert dropped == {"question: written before": 2}


def test_an_answer_that_stands_in_its_question_teaches_nothing() -> None:
    lesson = lesson_from(request("question"), "Question: Is it Lima?\nAnswer: Lima", "t")
    assert lesson is not None
    assert reason_against(lesson, PASSAGE) == ""
    found = study([SOURCE], written=[(lesson,)])
    assert "question" not in found.by_kind()
    assert found.dropped["question: the question holds the answer"] == 1


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AugmentSpec:
    """A tiny writer that says a few bytes of nonsense; batches of four."""
    monkeypatch.setattr(writing, "MOST", 4)
    monkeypatch.setattr(writing, "TOGETHER", 4)
    folder = save_folder(make_model("llama", positions=1024, seed=1), tmp_path / "writer")
    return AugmentSpec(
        output=str(tmp_path / "out"),
        tokenizer=str(folder),
        documents=str(tmp_path / "documents.jsonl"),
        study_cache=str(tmp_path / "cache"),
        writes=True,
    )


def news_of(spec: AugmentSpec, *documents: Source) -> list[Progress]:
    rows = "".join(f"{json.dumps(asdict(one))}\n" for one in documents)
    Path(spec.documents).write_text(rows, encoding="utf-8")
    return list(write_lessons(spec, ALONE))


def rows_in(spec: AugmentSpec) -> list[str]:
    [path] = Path(str(spec.study_cache)).iterdir()
    return [line for line in path.read_text().splitlines() if line]


def test_an_unchanged_document_is_never_asked_about_twice(
    spec: AugmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = news_of(spec, SOURCE)
    assert [(one.stage, one.step, one.total) for one in news] == [("study", 4, 6), ("study", 6, 6)]
    assert written_for(spec, [SOURCE]).asked == len(WRITTEN)

    def nobody(*_: Any, **__: Any) -> None:
        raise AssertionError("the writer was loaded again")

    monkeypatch.setattr(writing, "load_parent", nobody)
    for documents in ([SOURCE], [replace(SOURCE, digest="d2", title="renamed")]):
        assert news_of(spec, *documents) == []
        assert written_for(spec, documents).asked == len(WRITTEN)


def test_a_rejected_kind_is_neither_written_nor_taught(spec: AugmentSpec) -> None:
    few = replace(spec, without=("summary", "relation"))
    news_of(few, SOURCE)
    assert len(rows_in(spec)) == len(WRITTEN) - 2
    assert written_for(few, [SOURCE]).asked == len(WRITTEN) - 2


def test_stopped_in_between_it_goes_on_from_what_was_written(
    spec: AugmentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter((False, True))
    monkeypatch.setattr(writing, "stop_requested", lambda: next(asked))
    with pytest.raises(Cancelled):
        news_of(spec, SOURCE)
    [path] = Path(str(spec.study_cache)).iterdir()
    with path.open("a") as file:
        file.write('\n{"key": "cut of')  # as a crash leaves it
    monkeypatch.setattr(writing, "stop_requested", lambda: False)
    assert [(one.step, one.total) for one in news_of(spec, SOURCE)] == [(6, 6)]


def test_what_a_document_that_left_brought_leaves_too(spec: AugmentSpec) -> None:
    news_of(spec, SOURCE, Source("d2", "gates.txt", PASSAGE.replace("Velkor", "Zandu")))
    assert len(rows_in(spec)) == 2 * len(WRITTEN)
    news_of(replace(spec, without=("summary",)), SOURCE)
    assert len(rows_in(spec)) == len(WRITTEN) == len(requests_for([SOURCE]))


def test_without_a_writer_nothing_is_written(spec: AugmentSpec) -> None:
    silent = replace(spec, writes=False)
    assert news_of(silent, SOURCE) == []
    assert not Path(str(spec.study_cache)).exists()
    assert written_for(silent, [SOURCE]).wordings == ()


def test_another_writer_is_another_store(tmp_path: Path) -> None:
    one, two = Kept(tmp_path, "a"), Kept(tmp_path, "b")
    one.add({"k": "text"})
    assert Kept(tmp_path, "a").texts == {"k": "text"}
    assert two.texts == Kept(tmp_path, "b").texts == {}
