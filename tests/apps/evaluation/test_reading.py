"""Reading a report: the matrix with its gaps, the single answers, and the numbers as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from apps.evaluation.actions import file_report
from apps.evaluation.items import chosen, read
from apps.evaluation.matrix import by_corpus, leaks, matrix, paces, weights
from apps.evaluation.models import Report, cell_of
from apps.evaluation.saying import edited, judge, overlap, reading, tasks
from apps.evaluation.templatetags.shares import points
from apps.registry.artifacts import adopt
from apps.tenants.scope import tenant_scope
from calm_engine.digests import write_manifest
from calm_engine.errors import InternalError
from calm_engine.specs import Outcome
from counterpoint.storage import blobs
from tests.browser.making import fill
from tests.cast import Cast


def answered(anchor: bool, composition: bool, question: str) -> dict[str, Any]:
    """One line of the engine's items file."""
    said = {"anchor": anchor, "composition": composition}
    answers = {
        name: {"text": "Lima" if right else "Oslo", "right": right, "exact": right}
        for name, right in said.items()
    }
    told = {"id": question, "question": question, "answer": "Lima", "expected": "Lima"}
    return told | {"kind": "recall", "slice": "unseen_entity", "answers": answers}


@pytest.fixture
def report(cast: Cast, tmp_path: Path) -> Report:
    """A report whose composition missed two of three, one of which the anchor had."""
    whole = next(row for row in fill(cast) if isinstance(row, Report))
    folder = tmp_path / "items"
    folder.mkdir()
    rows = [
        answered(False, True, "Where is the MX-1 made?"),
        answered(True, False, "Where is the MX-2 made?"),
        answered(False, False, "Where is the <b>MX-3</b> made?"),
    ]
    del rows[2]["answers"]["anchor"]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "card.md").write_text("# Report card\n")
    digest = write_manifest(folder)
    with tenant_scope(cast.north):
        adopt("report", folder, digest)
        return Report(
            run=whole.run,
            composition=whole.composition,
            question_set=whole.question_set,
            cells=[cell for cell in whole.cells if cell["column"] != "random"],
            figures={
                "differences": [
                    row for row in whole.figures["differences"] if row["column"] != "random"
                ]
            },
            items_digest=digest,
            items_file="items.jsonl",
            verdict=whole.verdict,
        )


@pytest.fixture
def stored(cast: Cast, report: Report) -> Report:
    with tenant_scope(cast.north):
        run = report.run
        run.pk, run.plan = uuid4(), None  # a second evaluation of the same composition
        run.save(force_insert=True)
        report.run = run
        report.save()
    return report


def test_what_was_not_measured_is_a_gap_with_its_reason(report: Report) -> None:
    rows = matrix(report).rows
    assert len(rows) == 8  # two kinds in three slices, public questions, and edited facts
    for row in rows:
        gap = next(place for place in row.places if place.column == "random")
        assert gap.cell is None
        assert str(gap.reason) == "no control was trained"


def test_columns_stand_in_the_order_in_which_people_compare(report: Report) -> None:
    assert [str(name) for name in matrix(report).columns] == [
        "Anchor",
        "Augmenter",
        "Composition",
        "Random augmenter",
        "Composition on edited facts",
    ]


def test_what_should_not_come_out_stands_apart_and_is_never_called_better(report: Report) -> None:
    told = leaks(report)
    assert [str(row.kind) for row in told.rows] == [
        "Repeats documents word for word",
        "Says a planted secret",
        "Says a planted secret",
        "Answers about another corpus",
    ]
    assert not told.told_apart
    kinds = {str(row.kind) for row in told.rows}
    assert not kinds & {str(row.kind) for row in matrix(report).rows}


def test_the_page_says_what_was_edited_and_how_passages_were_found(
    cast: Cast, stored: Report
) -> None:
    told = {"corpus": "Pumps", "kind": "recall", "slice": "all", "column": "composition"}
    share = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 60}
    with tenant_scope(cast.north):
        assert not by_corpus(stored).rows
        stored.figures["corpora"] = [told | share, told | share | {"corpus": "Taps", "n": 7}]
        assert [str(row.kind) for row in by_corpus(stored).rows] == [
            "\u2068Pumps\u2069",
            "\u2068Taps\u2069",
        ]
        assert by_corpus(stored).rows[1].places[0].cell == cell_of(stored.figures["corpora"][1])
        counts = {"of": 60, "taught": 90, "run": 2, "near": 1, "words": 8}
        stored.figures["overlap"] = counts | {"either": 0, "all": share, "without": share}
        assert overlap(stored).endswith("and 1 are nearly the same text.")
        stored.figures["overlap"] |= {"either": 3, "without": share | {"n": 57}}
        assert "90% (80 to 95, n=57) of the others" in overlap(stored)
    stored.figures["why_not"] = {"lm_eval:arc_easy": "unmarked"}
    assert tasks(stored) == (
        "lm_eval: arc_easy was not asked: it does not say right or wrong of each question."
    )
    with tenant_scope(cast.north):
        facts = {"entities": 114}, {"passages": 2, "of": 310, "tried_on": 32, "by_meaning": False}
        stored.figures |= dict(zip(("swapped", "reads"), facts, strict=True))
        assert edited(stored).startswith("114 entities")
        assert "by words alone. How many was chosen on 32 other" in reading(stored)
        stored.figures |= {"swapped": {}, "why_not": {"swapped": "large"}}
        assert "too many to be taught twice" in edited(stored)
        told = {"decided": 4, "flipped": share, "agreement": share}
        stored.figures |= {"judge": told}
        assert "agrees in 90% (80 to 95, n=60)" in judge(stored)
        stored.figures |= {"judge": told | {"agreement": {"n": 0}}}
        assert "not compared with people" in judge(stored)
        stored.figures |= {
            "costs": {"parameters": {"anchor": 1000}, "cache": {"anchor": 64}, "ceiling": 1.0},
            "pace": {
                "composition": {"questions": 30.0, "seconds": 10.0},
                "anchor_rag@1": {"questions": 3.0, "seconds": 10.0},
                "anchor": {"questions": 0.0, "seconds": 0.0},
            },
        }
        assert [(one.parameters, one.cache) for one in weights(stored)] == [(1000, 64)]
        assert [(one.rate, one.n) for one in paces(stored)] == [(3.0, 30)]
    page = cast.client(cast.bo).get(f"/reports/{stored.pk}/").content.decode()
    assert "What should not come out" in page
    assert "Edited: Private facts" in page


def test_each_column_tells_how_far_the_composition_lies_above_it(report: Report) -> None:
    row = next(row for row in matrix(report).rows if str(row.slice) == "unseen entity")
    anchor = next(place for place in row.places if place.column == "anchor")
    assert anchor.difference is not None
    assert (anchor.difference.look, points(anchor.difference.value)[0]) == ("ok", "+")
    ours = next(place for place in row.places if place.column == "composition")
    assert ours.difference is None


def test_questions_that_flipped_are_told_both_ways(report: Report, cast: Cast) -> None:
    with tenant_scope(cast.north):
        items = read(report)
    before = {items[0].id: False, items[1].id: True, items[2].id: False}
    flipped = [chosen(items, show, before) for show in ("gained", "forgot")]
    assert [[item.id for item in found] for found in flipped] == [[items[0].id], [items[1].id]]
    assert chosen(items, "gained", None) == []


def test_a_column_that_was_not_asked_leaves_a_gap_in_its_place(cast: Cast, stored: Report) -> None:
    text = cast.client(cast.bo).get(f"/reports/{stored.pk}/items").content.decode()
    assert text.count("not asked") == 1


def test_items_are_filtered_by_who_was_wrong(cast: Cast, report: Report) -> None:
    with tenant_scope(cast.north):
        items = read(report)
    assert [len(chosen(items, show)) for show in ("all", "wrong", "lost")] == [3, 2, 1]
    assert chosen(items, "lost")[0].question == "Where is the MX-2 made?"


def test_a_report_that_quotes_more_than_the_model_learned_is_not_kept(
    cast: Cast, report: Report
) -> None:
    wider = uuid4()
    with tenant_scope(cast.north):
        run = report.run
        run.closure = [*run.closure, wider]
        outcome = Outcome("report", "", report.items_digest, facts={"cells": []})
        with pytest.raises(InternalError, match=r"report\.closure"):
            file_report(run, outcome)


def test_the_page_of_items_shows_answers_side_by_side(cast: Cast, stored: Report) -> None:
    text = cast.client(cast.bo).get(f"/reports/{stored.pk}/items?show=wrong").content.decode()
    assert "MX-2" in text
    assert "MX-1" not in text
    assert "&lt;b&gt;MX-3&lt;/b&gt;" in text


def test_items_are_not_shown_outside_the_closure(cast: Cast, stored: Report) -> None:
    assert cast.client(cast.otto).get(f"/reports/{stored.pk}/items").status_code == 404


def test_the_download_holds_numbers_and_gates_and_no_text_of_the_corpus(
    cast: Cast, stored: Report
) -> None:
    answer = cast.client(cast.ada).get(f"/reports/{stored.pk}/report.json")
    assert answer["Content-Disposition"].startswith("attachment")
    told = answer.json()
    assert told["cells"] == stored.cells
    assert [gate["verdict"] for gate in told["gates"]] == [
        *("passed", "passed", "unmeasured", "passed")
    ]
    assert told["differences"] == stored.figures["differences"]
    assert b"MX-1" not in answer.content


def test_the_card_comes_as_markdown_as_long_as_it_is_here(cast: Cast, stored: Report) -> None:
    answer = cast.client(cast.bo).get(f"/reports/{stored.pk}/card.md")
    assert answer["Content-Type"].startswith("text/markdown")
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer.content == b"# Report card\n"
    with tenant_scope(cast.north):
        blobs().delete("report", stored.items_digest)
    assert cast.client(cast.bo).get(f"/reports/{stored.pk}/card.md").status_code == 404


def test_a_report_whose_answers_are_gone_shows_an_empty_page(cast: Cast, stored: Report) -> None:
    with tenant_scope(cast.north):
        blobs().delete("report", stored.items_digest)
    answer = cast.client(cast.ada).get(f"/reports/{stored.pk}/items")
    assert answer.status_code == 200
    assert b"No question here" in answer.content
