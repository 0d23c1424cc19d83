"""Report cards of runs side by side, with the interval of each difference."""

from __future__ import annotations

import pytest

from apps.evaluation.differences import difference
from apps.evaluation.models import Cell, Report
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from tests.apps.evaluation.making import GOOD, cells, file, make_model
from tests.apps.registry.making import make_composition
from tests.apps.runs.making import make_snapshot
from tests.cast import Cast

WORSE = GOOD | {"composition": 0.45}


def cell(value: float, low: float, high: float) -> Cell:
    return Cell("composition", "recall", "seen", value, 40, low, high)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # His example: 56 of 70 beside 48 of 80, with Wilson's intervals; 0.0524 to 0.3339.
    found = difference(cell(48 / 80, 0.4905, 0.7004), cell(56 / 70, 0.6920, 0.8770))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (
        pytest.approx(0.0524, abs=5e-4),
        pytest.approx(0.3339, abs=5e-4),
    )
    assert found.look == "ok"
    same = difference(cell(0.5, 0.4, 0.6), cell(0.5, 0.4, 0.6))
    assert same.low == -same.high
    assert same.look == "off"


def page(cast: Cast, reports: list[Report]) -> str:
    words = "&".join(f"run={report.run_id}" for report in reports)
    return cast.client(cast.ada).get(f"/runs/compare?{words}").content.decode()


def test_report_cards_stand_side_by_side(cast: Cast) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        both = [file(model, cells("recall", values), cast) for values in (GOOD, WORSE)]
        answer = {"question": "Where?", "expected": "Peru", "answer": "Chile"}
        Run.objects.update(samples=[answer])
    text = page(cast, both)
    assert "Private facts, unseen entity" in text
    assert "\N{MINUS SIGN}50" in text
    assert 'data-state="bad"' in text
    assert text.count("Chile") == 2, "the same question, answered by both"


def test_other_questions_are_not_compared(cast: Cast) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        snapshot = make_snapshot(cast.ada, "Others")
        other = make_composition(list(model.parts()), snapshot=snapshot)
        both = [
            file(each, cells("recall", values), cast)
            for each, values in ((model, GOOD), (other, WORSE))
        ]
    text = page(cast, both)
    assert "asked different questions" in text
    assert "\N{MINUS SIGN}50" not in text
