"""The dry run of a plan: asked for on its page, waiting honestly, then in place of estimates."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models.functions import Now

from apps.runs.actions import OUTPUT
from apps.runs.models import Run, Slot
from apps.runs.standing import Surroundings
from apps.teaching import trying
from apps.teaching.models import Plan
from apps.teaching.presets import QUICK, settings_of
from apps.tenants.scope import tenant_scope
from calm_engine.specs import Estimate
from tests.apps.runs.making import make_anchor, make_snapshot
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)
BRIDGES = Estimate(seconds=240.0, memory_bytes=4 * 2**30, disk_bytes=2**29, steps=120)
MEASURED = Estimate(
    seconds=7300.0,
    memory_bytes=3 * 2**30,
    disk_bytes=2**30,
    steps=900,
    why="Small enough.",
    bridges=BRIDGES,
)


@pytest.fixture
def asked(cast: Cast) -> dict[str, Any]:
    """What the page sends."""
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
    return {"snapshot": str(snapshot.pk), "anchor": str(anchor.pk), "preset": "standard"}


def try_out(cast: Cast, asked: dict[str, Any]) -> str:
    """The page that is shown after the button."""
    return cast.client(cast.ada).post("/teach/dry-run", asked, follow=True).content.decode()


def end(cast: Cast, **facts: Any) -> None:
    with tenant_scope(cast.north):
        Run.objects.filter(kind="estimate").update(finished_at=Now(), **facts)


def page(cast: Cast, asked: dict[str, Any]) -> str:
    return cast.client(cast.ada).get("/teach/", asked).content.decode()


def test_it_waits_like_any_run_and_the_page_says_so(cast: Cast, asked: dict[str, Any]) -> None:
    assert "Dry run (2 steps)" in page(cast, asked)
    text = try_out(cast, asked)
    assert "starved" in text
    assert "Somebody must start a worker" in text
    assert 'hx-trigger="every 3s"' in text
    Slot.objects.create(name="here/gpu0", memory_bytes=2**40, disk_free=2**40)
    assert "It is the next in the queue" in page(cast, asked)
    try_out(cast, asked)
    with tenant_scope(cast.north):
        assert Run.objects.get().kind == "estimate", "asked twice, queued once"


def test_what_it_measures_takes_the_place_of_estimates(cast: Cast, asked: dict[str, Any]) -> None:
    Slot.objects.create(name="here/gpu0", memory_bytes=2**40, disk_free=2**40)
    try_out(cast, asked)
    facts = {"facts": {"estimate": MEASURED.to_dict(), "device": "H200"}}
    end(cast, state="succeeded", outcome=facts)
    text = page(cast, asked)
    augmenter, bridges = "2 h 01 min for 900 steps", "4 min for 120 steps"
    for words in ("H200", augmenter, bridges, "4.0\xa0GB", "1.5\xa0GB", "Small enough."):
        assert words in text
    assert "2 h 01 min for the augmenter and 4 min for bridges, as measured" in text
    assert "every 3s" not in text
    assert "H200" not in page(cast, asked | {"preset": "quick"}), "other choices, not measured"
    with tenant_scope(cast.north):
        run = Run.objects.get()
    told = cast.client(cast.ada).get(f"/runs/{run.pk}/").content.decode()
    assert "900 steps on H200" in told
    assert "Bridges: 4 min for 120 steps" in told


@pytest.mark.parametrize(("cause", "is_barred"), [("memory", True), ("lost", False)])
def test_a_failed_one_bars_what_would_fail_as_well(
    cast: Cast, asked: dict[str, Any], cause: str, is_barred: bool
) -> None:
    try_out(cast, asked)
    end(cast, state="failed", cause=cause, failure_code="x", failure_text="It did not fit.")
    assert ("The dry run failed: It did not fit." in page(cast, asked)) == is_barred
    answer = cast.client(cast.ada).post("/teach/", asked | {"name": "Devices"})
    assert answer.status_code == (200 if is_barred else 302)
    with tenant_scope(cast.north):
        assert Plan.objects.exists() != is_barred


def test_without_a_snapshot_nothing_is_tried(cast: Cast) -> None:
    assert "Choose a snapshot" in try_out(cast, {"snapshot": "", "preset": "standard"})
    with tenant_scope(cast.north):
        assert not Run.objects.exists()


def test_every_choice_of_the_page_is_tried(cast: Cast, asked: dict[str, Any]) -> None:
    more = {"writes": "on", "follows": "on", "sieve": "on"}
    page = try_out(cast, asked | more | {"without": ["gap", "list"]})
    assert 'name="follows"' in page
    with tenant_scope(cast.north):
        run = Run.objects.get()
        chosen = settings_of(
            "standard", without=["gap", "list"], writes=True, follows=True, sieve=True
        )
        assert trying.newest(run.snapshot, run.anchor, chosen) == run
        trial = trying.trial_of(run, Surroundings.of(run))
        assert trial.is_active
        assert (run.spec["writes"], run.spec["without"]) == (True, ["gap", "list"])
        assert run.spec["compose"]["augmenters"] == [OUTPUT], "a newborn of the trial itself"


def test_what_was_chosen_for_the_bridges_is_tried_and_told(
    cast: Cast, asked: dict[str, Any]
) -> None:
    try_out(cast, asked | {"preset": "quick"})
    with tenant_scope(cast.north):
        run = Run.objects.get()
        assert run.spec["compose"]["steps"] == QUICK.settings["compose"]["steps"]
    told = cast.client(cast.ada).get(f"/runs/{run.pk}/").content.decode()
    assert "compose.batch_size" in told
    assert "@output" not in told
