"""When a waiting run is expected to begin: a range that holds, or that it is not known."""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as some

from apps.runs.claims import claim
from apps.runs.expecting import SPREAD, Ahead, Pace, Working, begins_in, in_words
from apps.runs.models import Run, Slot
from apps.runs.standing import Surroundings, standing
from apps.tenants.scope import tenant_scope
from tests.apps.runs.making import make_run
from tests.cast import Cast

NOON = timezone.make_aware(datetime(2026, 5, 5, 12))  # noqa: DTZ001  made aware here
HOURS = {"augment": 3600.0, "compose": 7200.0}
KINDS = some.sampled_from(sorted(HOURS))


def works(slot: str, *, left: float | None = None, used: float = 0.0) -> Working:
    return Working(slot, "augment", used, left)


# -- the reckoning ---------------------------------------------------------------------------------


@given(
    left=some.lists(some.floats(0, 9000), max_size=4),
    free=some.integers(0, 2),
    kinds=some.lists(KINDS, max_size=6),
    begun=some.lists(some.floats(1, 5000), max_size=3),
)
def test_a_queue_that_goes_by_age_begins_a_run_within_its_range(
    left: list[float], free: int, kinds: list[str], begun: list[float]
) -> None:
    names = {f"gpu{at}" for at in range(len(left) + free)}
    pace = Pace([works(f"gpu{at}", left=each) for at, each in enumerate(left)], HOURS)
    fresh = {kind: kinds.count(kind) for kind in HOURS}
    told = begins_in(Ahead(len(kinds) + len(begun), fresh, sum(begun)), pace, names)
    if not names:
        assert told is None
        return
    ends = [*left, *[0.0] * free]
    heapq.heapify(ends)
    for seconds in [*begun, *(HOURS[kind] for kind in kinds)]:
        heapq.heappush(ends, heapq.heappop(ends) + seconds)
    assert told is not None
    soonest, latest = told[0] / SPREAD[0], told[1] / SPREAD[1]
    assert soonest - 1e-6 <= ends[0] <= latest + 1e-6


def test_what_nobody_can_know_is_not_told() -> None:
    one = ["gpu0"]
    assert begins_in(Ahead(), Pace([works("gpu0")]), one) is None, "nothing like it has finished"
    assert begins_in(Ahead(1, {"evaluate": 1}), Pace([], HOURS), one) is None
    assert begins_in(Ahead(1, {"evaluate": 0, "compose": 1}), Pace([], HOURS), one) is not None
    assert begins_in(Ahead(), Pace([works("gpu0", used=600)], HOURS), one) == (2400.0, 4200.0)
    assert begins_in(Ahead(), Pace([works("elsewhere")]), one) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "not known yet"),
        ((0.0, 0.0), "in a moment"),
        ((3600.0, 5400.0), "about 13:00 to 13:30."),
        ((60.0, 62.0), "about 12:01."),
        ((3600.0, 90_000.0), "about 13:00 to 2026-05-06 13:00."),
    ],
)
def test_it_is_said_as_an_estimate(seconds: tuple[float, float] | None, words: str) -> None:
    assert words in in_words(seconds, NOON)


# -- from rows -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_page_tells_when_a_waiting_run_begins(cast: Cast) -> None:
    Slot.objects.create(name="here/gpu0", memory_bytes=2**40)
    with tenant_scope(cast.south):
        make_run(cast.cy)
    with tenant_scope(cast.north):
        half, fresh, last = (make_run(cast.ada, name) for name in ("Half", "Fresh", "Last"))
    assert claim("gpu", "here/gpu0") is not None
    page = f"/runs/{last.pk}/"
    assert "is not known yet" in cast.client(cast.ada).get(page).content.decode()
    with tenant_scope(cast.south):
        Run.objects.update(eta_seconds=1800, heartbeat_at=timezone.now())
    with tenant_scope(cast.north):
        Run.objects.filter(pk=half.pk).update(step=30, total=40, used_seconds=900)
        done = make_run(cast.ada, "Done")
        facts = {"state": "succeeded", "used_seconds": 600, "outcome": {}}
        Run.objects.filter(pk=done.pk).update(finished_at=timezone.now(), **facts)
        around = Surroundings.of(last)
        (ahead,) = around.ahead.values()
        told = standing(last, around)
    assert (ahead.runs, ahead.fresh["augment"], ahead.left) == (2, 1, 300.0)
    assert [(each.slot, each.kind) for each in around.pace.working] == [("here/gpu0", "augment")]
    seconds = begins_in(ahead, around.pace, {"here/gpu0"})
    assert seconds == pytest.approx((1800 * 0.8, (1800 + 300 + 600) * 1.4), rel=0.05)
    assert told.next.startswith("It begins about ")
    assert "It begins about " in cast.client(cast.ada).get(page).content.decode()
    assert "It begins about " in cast.client(cast.ada).get("/runs/").content.decode()
    assert fresh.name in cast.client(cast.ada).get("/runs/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_run_that_works_asks_nothing_of_the_queue(cast: Cast) -> None:
    with tenant_scope(cast.north):
        run = make_run(cast.ada)
        soon = timezone.now() + timedelta(seconds=60)
        facts = {"state": "running", "lease_until": soon, "heartbeat_at": timezone.now()}
        Run.objects.filter(pk=run.pk).update(owner="here", **facts)
        run.refresh_from_db()
        with CaptureQueriesContext(connection) as asked:
            assert standing(run, Surroundings.of(run)).word == "running"
    assert len(asked) == 0
