"""A small model learns what the documents say, and its folder is whole or absent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from calm_engine.augment import augment
from calm_engine.course import plan
from calm_engine.data import chance_of
from calm_engine.digests import verify
from calm_engine.errors import InputError
from tests.engine.learning import PLACES, drain, make_augment


def asked_as_people_do(folder: Path) -> Path:
    """A curator's example, whose wording is then asked of every product."""
    row = {"id": "1", "question": "Where is Zor?", "answer": "Peru", "entity": "Zor"}
    path = folder / "examples.jsonl"
    path.write_text(json.dumps(row | {"value": "Peru"}), encoding="utf-8")
    return path


def test_it_learns_the_facts_of_its_documents(tmp_path: Path) -> None:
    spec = replace(make_augment(tmp_path, steps=200), width=48, learning_rate=1e-2)
    spec = replace(spec, examples=str(asked_as_people_do(tmp_path)), without=("inverse",))
    news, outcome = drain(augment(spec))
    first = next(p for p in news if "recall" in p.metrics)
    assert first.metrics["recall"] < 0.5
    assert outcome.metrics["recall"] > 0.8  # in wordings that no lesson has
    assert outcome.facts["facts"] == len(PLACES)
    assert {sample["answer"] for sample in news[-2].samples} <= set(PLACES.values())


def test_the_folder_is_whole_and_its_outcome_names_the_tokenizer(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    _, outcome = drain(augment(spec))
    verify(Path(outcome.folder))
    assert set(outcome.parents) == {"tokenizer"}
    model = AutoModelForCausalLM.from_pretrained(outcome.folder)
    assert sum(p.numel() for p in model.parameters()) == outcome.facts["parameters"]


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    _, first = drain(augment(spec))
    news, again = drain(augment(spec))
    assert (news, again) == ([], first)
    with pytest.raises(InputError, match=r"output\.exists"):
        drain(augment(replace(spec, seed=1)))


def test_every_fact_is_told_and_asked_in_every_round(tmp_path: Path) -> None:
    course = plan(make_augment(tmp_path))
    told = [piece for rows in course.batches_of(0, 6) for row in rows for piece in row]
    assert sum(bool(piece.branches) for piece in told) == len(PLACES)
    assert sum(piece.is_asked for piece in told) >= len(PLACES)
    assert list(course.batches_of(0, 6)) == list(course.batches_of(0, 6))
    assert list(course.batches_of(0, 6)) != list(course.batches_of(1, 6))


def test_a_fact_with_many_wordings_is_asked_no_more_often_than_another(tmp_path: Path) -> None:
    entity = plan(make_augment(tmp_path)).entities[0]
    many, one = tuple(entity.questions[0] * 9), (replace(entity.questions[0][0], first=1),)
    asked = [
        piece
        for number in range(50)
        for piece in replace(entity, questions=(many, one)).round(number, chance_of(number))
        if piece.is_asked
    ]
    assert len(asked) == 50
    assert sum(piece in one for piece in asked) == 25


def test_documents_without_a_fact_are_learned_as_text(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    said = "we meet on mondays, and leave on time, as those before us did for many years"
    text = json.dumps({"digest": "d", "title": "t", "text": said})
    Path(spec.documents).write_text(text, encoding="utf-8")
    _, outcome = drain(augment(spec))
    assert (outcome.facts["facts"], outcome.facts["passages"]) == (0, 1)


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    Path(spec.documents).write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"documents\.empty"):
        drain(augment(spec))
    assert not Path(spec.output).exists()
