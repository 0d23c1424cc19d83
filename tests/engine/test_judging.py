"""A model as a judge: asked where no rule decides, in both orders, and measured against people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calm_engine.data import Example
from calm_engine.errors import InputError
from calm_engine.evaluation.judging import (
    Judge,
    Label,
    Ruling,
    is_open,
    open_answers,
    read_labels,
    worth,
)
from calm_engine.evaluation.run import evaluate
from calm_engine.specs import EvaluateSpec
from tests.engine.asking import make_evaluation
from tests.engine.learning import drain
from tests.tiny import make_model, make_tokenizer, save_folder

LONG = "The pump must be drained and dried before it is stored"
NEAR = "Before you put it away, the pump must be dried"
ASKED = [("How is the pump stored?", LONG, NEAR), ("And the valve?", LONG, "The valve stays open.")]


@pytest.fixture
def judge() -> Judge:
    model = make_model("llama", positions=1024, seed=4)
    return Judge(model, make_tokenizer(), limit=1000)


@pytest.mark.parametrize(
    ("answer", "expected", "is_left"),
    [
        (NEAR, LONG, True),
        (LONG, LONG, False),  # a rule finds it right
        ("Lunch is served at noon.", LONG, False),  # it is about something else
        ("Lima", "Peru", False),  # a name is right or wrong
        ("a | b | c\nd | e | g", "a | b | c\nd | e | f", False),  # so is a table
        ('{"a b": "c d", "e": "g"}', '{"a b": "c d", "e": "f"}', False),  # and an object
    ],
)
def test_only_what_no_rule_decides_is_left(answer: str, expected: str, is_left: bool) -> None:
    assert is_open(answer, expected) is is_left
    rows = {"q": Example("q", "?", expected, expected, "recall")}
    left = open_answers({("composition", "q"): answer, ("anchor_rag@2", "trial-1"): answer}, rows)
    assert left == [("composition", "q")] * is_left


def test_who_contradicts_himself_has_not_found_it_right() -> None:
    assert Ruling(first=True, second=True).is_right
    assert not Ruling(first=True, second=False).is_right
    assert Ruling(first=True, second=False).is_flip
    assert not Ruling(first=False, second=False).is_flip


def test_asked_together_the_rulings_are_those_asked_alone(judge: Judge) -> None:
    assert judge.rulings(ASKED) == [judge.rulings([one])[0] for one in ASKED]
    assert judge.rulings([]) == []


def test_what_it_is_worth_is_told_with_intervals_and_both_mistakes(judge: Judge) -> None:
    right = [ruling.is_right for ruling in judge.rulings(ASKED)]
    agreed = [Label(*asked, is_right=said) for asked, said in zip(ASKED, right, strict=True)]
    told = worth(judge, agreed)
    assert (told["agreement"]["value"], told["agreement"]["n"]) == (1.0, 2)
    assert told["agreement"]["low"] < 1.0
    turned = worth(judge, [replace(one, is_right=not one.is_right) for one in agreed])
    assert turned["agreement"]["value"] == 0.0
    assert turned["false_accepts"] + turned["false_rejects"] == 2
    assert worth(judge, [])["agreement"] == {"n": 0}


@pytest.fixture
def spec(tmp_path: Path) -> EvaluateSpec:
    made = make_evaluation(tmp_path, control=False, questions=3, new_tokens=3)
    labels = tmp_path / "labels.jsonl"
    rows = [dict(zip(("question", "expected", "answer"), one, strict=True)) for one in ASKED]
    labels.write_text("".join(f"{json.dumps(row | {'right': True})}\n" for row in rows))
    folder = save_folder(make_model("llama", positions=1024, seed=4), tmp_path / "judge")
    return replace(made, judge=str(folder), labels=str(labels))


def test_a_card_tells_of_its_judge(spec: EvaluateSpec) -> None:
    _, outcome = drain(evaluate(spec))
    assert outcome.facts["judge"]["decided"] == 0  # three names, of which rules decide
    assert outcome.facts["judge"]["agreement"]["n"] == 2
    assert "judge" in outcome.parents
    card = (Path(outcome.folder) / "card.md").read_text()
    assert "## The judge" in card
    assert "With people it agrees" in card


def test_a_judge_that_is_not_installed_is_refused_before_anybody_is_asked(
    spec: EvaluateSpec,
) -> None:
    with pytest.raises(InputError) as refused:
        drain(evaluate(replace(spec, judge="nowhere")))
    assert refused.value.code == "judge.missing"
    assert not Path(f"{spec.output}.work").exists()
    with pytest.raises(InputError) as refused:
        replace(spec, judge=None)
    assert "labels" in str(refused.value.facts["fields"])


def test_labels_that_lack_a_column_are_refused(tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps({"question": "?", "expected": "a", "answer": "b"}))
    with pytest.raises(InputError) as refused:
        read_labels(labels)
    assert refused.value.code == "data.row"
