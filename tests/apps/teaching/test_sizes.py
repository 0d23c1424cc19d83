"""Why a size is proposed, what more or less would mean, and that a choice reaches the run."""

from __future__ import annotations

import pytest

from apps.registry.models import Anchor
from apps.runs.models import Run
from apps.teaching import planning
from apps.teaching.sizes import sizes_for
from apps.tenants.scope import tenant_scope
from calm_engine import course, specs
from calm_engine.capacity import SHAPES
from tests.apps.runs.making import make_anchor, make_snapshot
from tests.cast import Cast


def asked(cast: Cast, **more: str) -> dict[str, str]:
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
    told = {"snapshot": str(snapshot.pk), "anchor": str(anchor.pk), "name": "Pumps"}
    return told | {"preset": "standard"} | more


def test_the_page_reckons_with_the_engines_own_numbers() -> None:
    assert planning.IN_ROUNDS == course.ROUNDS
    assert planning.FROM_SHARDS == course.ROUNDS_OF_TEXT
    assert course.ROUNDS_OF_TEXT % course.TEXT_BESIDE_POINTS == 0, "studied, it is met as often"
    bytes_a_token = specs.ROUNDS_MOST / planning.LARGE_CORPUS
    assert 3 <= bytes_a_token <= 5


def test_a_size_is_shown_with_its_neighbours_and_the_reason(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot = make_snapshot(cast.ada)
        snapshot.tokens = 3_000_000
        told = sizes_for(snapshot, Anchor(vocabulary=50_000), 7000)
    smaller, proposed, larger = told.every
    assert [one.name for one in told.every] == ["smaller", "proposed", "larger"]
    assert smaller.held < 100 == proposed.held == larger.held
    assert smaller.pace < 1.0 == proposed.pace < larger.pace
    assert smaller.memory < proposed.memory < larger.memory
    assert told.is_enough
    assert told.wanted * told.each == pytest.approx(told.bits)
    assert told.shape_of("larger") == SHAPES[SHAPES.index(proposed.shape) + 1]
    assert told.shape_of("proposed") is told.shape_of("huge") is None


def test_a_corpus_that_no_size_holds_is_told_so(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot = make_snapshot(cast.ada)
        snapshot.tokens = 10**12
        told = sizes_for(snapshot, Anchor(vocabulary=50_000), 0)
    assert not told.is_enough
    assert [one.name for one in told.every] == ["smaller", "proposed"]


def test_the_page_says_why_and_a_larger_size_reaches_the_run(cast: Cast) -> None:
    told = asked(cast, size="larger")
    client = cast.client(cast.ada)
    text = client.get("/teach/", told).content.decode()
    assert "parameters are wanted" in text
    assert 'id="id_size_larger" name="size" value="larger" form="plan-form"' in text
    assert 'aria-describedby="size-larger" checked' in text
    client.post("/teach/", told)
    with tenant_scope(cast.north):
        spec = Run.objects.get().spec
    assert (spec["width"], spec["layers"], spec["heads"]) == (384, 6, 6)


def test_the_proposed_size_is_left_to_the_run(cast: Cast) -> None:
    cast.client(cast.ada).post("/teach/", asked(cast))
    with tenant_scope(cast.north):
        assert Run.objects.get().spec["width"] is None


def test_a_quick_check_has_its_own_size_and_offers_none(cast: Cast) -> None:
    told = asked(cast, preset="quick", size="larger")
    client = cast.client(cast.ada)
    assert "parameters are wanted" not in client.get("/teach/", told).content.decode()
    client.post("/teach/", told)
    with tenant_scope(cast.north):
        assert Run.objects.get().spec["width"] == 64


def test_a_size_that_there_is_not_is_refused(cast: Cast) -> None:
    answer = cast.client(cast.ada).post("/teach/", asked(cast, size="huge"))
    assert answer.status_code == 200
    with tenant_scope(cast.north):
        assert not Run.objects.exists()
