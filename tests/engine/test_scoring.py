"""How an answer is judged, and how single answers become figures with intervals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calm_engine.data import Example
from calm_engine.evaluation.card import verdict_of
from calm_engine.evaluation.counting import (
    ANCHOR,
    COMPOSITION,
    attribution_of,
    cells_of,
    differences_of,
    paired,
)
from calm_engine.evaluation.public import PAIRS
from calm_engine.evaluation.scoring import scored, token_f1
from calm_engine.general import QUESTIONS

LONG = "The pump must be drained and dried before it is stored"


@pytest.mark.parametrize(
    ("answer", "expected", "by"),
    [
        ("It is Lima.", "Lima", "words"),
        ("about 1,250", "1250", "number"),
        ("1 250 kg", "1,250 kg", "words"),
        ("It weighs 1'250 kg.", "1250 kg", "number"),
        ("3.142", "3.14", "number"),
        ("3,14", "3.14", "words"),
        ("3,142", "3.14", ""),
        ("-4", "-4.0", "number"),
        ("A hexagon has six sides.", "6", "number"),
        ("A hexagon has sixty sides.", "6", ""),
        ("The pump has to be drained and dried before it is stored.", LONG, "overlap"),
        ("1251", "1250", ""),
        ("3.15", "3.14", ""),
        ("1250 pounds", "1250 kg", ""),
        ("2018", "2017", ""),
        ("The pump is stored.", LONG, ""),
        ("", "0", ""),
        ("...", "4", ""),
    ],
)
def test_the_first_rule_that_holds_judges(answer: str, expected: str, by: str) -> None:
    score = scored(answer, expected)
    assert (score.by, score.is_right) == (by, bool(by))


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ('{"name": "Zor", "made in": "Peru"}', True),
        ('Here it is:\n{"Made in": "PERU", "name": "Zor"} - done', True),
        ("Zor is made in Peru", False),
        ('{"name": "Zor", "made in": "Cuba"}', False),
        ('{"name": "Zor", "made in": "Peru"', False),
        ("{", False),
    ],
)
def test_where_an_object_is_expected_one_that_says_the_same_is_right(
    answer: str, is_right: bool
) -> None:
    score = scored(answer, '{"name": "Zor", "made in": "Peru"}')
    assert (score.is_right, score.by) == (is_right, "object" if is_right else "")


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("name | made in\nZor | Peru", True),
        ("Here it is:\n\n| Name | Made in |\n| --- | :-: |\n| ZOR | Peru |\n\nDone | so.", True),
        ("name | made in\nZor | Cuba", False),
        ("made in | name\nPeru | Zor", False),
        ("name, made in\nZor, Peru", False),
        ("name | made in Zor | Peru", False),
        ("name | made in\nZor | Peru\nVek | Cuba", False),
        ("|\n|", False),
        ("", False),
    ],
)
def test_where_a_table_is_expected_one_of_the_same_cells_is_right(
    answer: str, is_right: bool
) -> None:
    score = scored(answer, "name | made in\nZor | Peru")
    assert (score.is_right, score.by) == (is_right, "table" if is_right else "")


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_was_said_is_judged(answer: str, expected: str) -> None:
    score = scored(answer, expected)
    assert score.is_right or not score.exact
    assert 0.0 <= token_f1(answer, expected) <= 1.0


# -- figures ---------------------------------------------------------------------------------------


def rows(count: int, *, kind: str = "recall", part: str = "unseen_entity") -> list[Example]:
    return [Example(f"{kind}{i}", "?", "a", "a", kind, slice=part) for i in range(count)]


def right(questions: list[Example], **shares: float) -> dict[tuple[str, str], bool]:
    """For each column so large a share of the questions right, the first ones."""
    return {
        (column, row.id): at < share * len(questions)
        for column, share in shares.items()
        for at, row in enumerate(questions)
    }


def test_what_was_not_asked_has_no_cell() -> None:
    asked = rows(4)
    marks = right(asked, composition=1.0) | {("augmenter", asked[0].id): True}
    cells = {(c["column"], c["slice"]): c["n"] for c in cells_of(asked, marks, ["augmenter"])}
    assert cells == {("augmenter", "unseen_entity"): 1, ("augmenter", "all"): 1}
    assert cells_of(asked, marks, ["anchor"]) == []


def test_a_difference_is_of_the_questions_that_both_were_asked() -> None:
    asked = rows(40)
    marks = right(asked, composition=0.9, anchor=0.5)
    for row in asked[20:]:
        del marks[ANCHOR, row.id]
    found = differences_of(asked, marks, [COMPOSITION, ANCHOR])
    assert {row["n"] for row in found} == {20}
    assert found[0]["value"] == pytest.approx(0.0)


@given(
    marks=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60),
)
def test_a_paired_interval_holds_its_figure_and_is_never_a_point(
    marks: list[tuple[bool, bool]],
) -> None:
    told = paired(marks, lambda p: p[0] - p[1])
    turned = paired([(b, a) for a, b in marks], lambda p: p[0] - p[1])
    assert told["low"] < told["high"]
    assert told["low"] - 0.2 <= told["value"] <= told["high"] + 0.2
    assert turned["value"] == pytest.approx(-told["value"])
    assert turned["low"] == pytest.approx(-told["high"], abs=0.08)


def test_more_questions_make_it_narrower() -> None:
    few, many = (
        paired([(at % 4 > 0, at % 2 > 0) for at in range(count)], lambda p: p[0] - p[1])
        for count in (20, 200)
    )
    assert many["high"] - many["low"] < 0.5 * (few["high"] - few["low"])


def test_attribution_is_the_share_of_the_gain_that_the_control_does_not_give() -> None:
    asked = rows(40)
    (whole, _) = attribution_of(asked, right(asked, composition=1.0, random=0.0, anchor=0.0))
    assert whole["value"] == 1.0
    assert 0.8 < whole["low"] < 1.0
    (half, _) = attribution_of(asked, right(asked, composition=1.0, random=0.5, anchor=0.0))
    assert half["value"] == 0.5
    assert attribution_of(asked, right(asked, composition=0.5, random=0.0, anchor=0.5)) == []
    assert attribution_of(asked, right(asked, composition=1.0, anchor=0.0)) == []


def test_the_verdict_says_who_is_better_and_where_nobody_can_tell() -> None:
    asked = rows(48)
    marks = right(asked, composition=0.9, anchor=0.0, anchor_rag=1.0, anchor_lora=0.9)
    columns = [COMPOSITION, ANCHOR, "anchor_rag", "anchor_lora"]
    told = verdict_of(
        {
            "cells": cells_of(asked, marks, columns),
            "differences": differences_of(asked, marks, columns),
        }
    )
    assert told.startswith("The composition answers 92% (80 to 97, n=48) of the private questions")
    assert "more than the anchor (0%)" in told
    assert "as many as the anchor + LoRA" in told
    assert "fewer than the anchor + RAG (100%)" in told
    assert "not measured" in verdict_of({"cells": [], "differences": []})


def test_public_questions_are_none_that_bridges_are_trained_on() -> None:
    asked = [question for question, _ in PAIRS]
    assert len(set(asked)) == len(asked) == 100
    assert not set(asked) & set(QUESTIONS)
    assert all(question.endswith("?") and answer for question, answer in PAIRS)
