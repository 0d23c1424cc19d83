"""How large a model a corpus wants, said with its reason."""

from __future__ import annotations

import pytest

from calm_engine.capacity import (
    SHAPES,
    bits_of_a_parameter,
    propose,
    rate_for,
    rows_for,
)
from calm_engine.loop import Schedule


def test_a_parameter_holds_what_the_paper_measured() -> None:
    assert bits_of_a_parameter(1000) == pytest.approx(2.0)
    assert bits_of_a_parameter(100) == pytest.approx(1.0)
    assert bits_of_a_parameter(1) > 0


def test_a_larger_corpus_never_wants_a_smaller_model() -> None:
    sizes = [
        propose(tokens=tokens, facts=0, exposures=56).shape.parameters
        for tokens in (1_000, 500_000, 1_000_000, 5_000_000, 50_000_000, 10**12)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] == SHAPES[0].parameters
    assert sizes[-1] == SHAPES[-1].parameters


def test_more_exposures_let_a_smaller_model_do() -> None:
    few, many = (propose(tokens=1_500_000, facts=0, exposures=e) for e in (30, 1000))
    assert few.shape.parameters > many.shape.parameters


def test_the_demos_corpus_keeps_its_size() -> None:
    assert propose(tokens=500_000, facts=2_000, exposures=56).shape == SHAPES[0]


def test_the_reason_names_the_figures_and_both_neighbours() -> None:
    told = propose(tokens=1_000_000, facts=300, exposures=56).why
    assert "1,000,000 tokens" in told
    assert "300 facts" in told
    assert "next smaller" in told
    assert "next larger" in told
    assert "split the corpus" in propose(tokens=10**12, facts=0, exposures=56).why


def test_shapes_can_be_built_up_to_three_thousand_million_parameters() -> None:
    assert all(shape.width % shape.heads == 0 for shape in SHAPES)
    assert SHAPES[-1].parameters > 3e9


def test_larger_models_take_smaller_rates_and_larger_batches() -> None:
    sizes = (15e6, 120e6, 400e6, 1.3e9, 3e9)
    rates, rows = ([f(int(s)) for s in sizes] for f in (rate_for, rows_for))
    assert rates == sorted(rates, reverse=True)
    assert rows == sorted(rows)
    assert all(rate_for(int(s), onwards=True) < rate_for(int(s)) + 1e-12 for s in sizes)


@pytest.mark.parametrize("form", ["wsd", "cosine"])
def test_a_schedule_rises_to_its_peak_and_ends_low(form: str) -> None:
    schedule = Schedule(200, 1.0, warmup=20, form=form)
    rates = [schedule.rate(step) for step in range(200)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.05)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 0.1
