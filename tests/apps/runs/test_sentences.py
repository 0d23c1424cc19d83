"""What the run page says, by fixed rules; and what it shows to whom."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from apps.corpora import actions as corpora
from apps.corpora.models import Corpus, Right
from apps.runs.models import Run, RunMetric, Slot
from apps.runs.sentences import health, sentence
from apps.runs.standing import Surroundings, standing
from apps.tenants.scope import tenant_scope
from counterpoint.database import current_tenant_id
from counterpoint.live import publish
from tests.apps.runs.making import make_run
from tests.cast import Cast

NOW = timezone.now()
RUNNING: dict[str, Any] = {"state": "running", "total": 100, "step": 10, "stage": "train"}
RUNNING |= {"heartbeat_at": NOW, "created_at": NOW}


def told_of(run: Run) -> str:
    """What is said of it where a worker listens."""
    around = Surroundings(NOW, slots=[Slot(name="here/cpu", seen_at=NOW)])
    return sentence(run, standing(run, around), now=NOW)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([3.0, 2.9], "Working normally"),
        ([3.0 - 0.1 * n for n in range(20)], "the loss is falling"),
        ([1.0] * 20, "stopped falling"),
        ([1.0] * 15 + [2.0] * 5, "rising"),
    ],
)
def test_a_curve_is_read_for_the_reader(losses: list[float], said: str) -> None:
    assert said in health(losses)


@pytest.mark.parametrize(
    ("moved", "is_alarm"),
    [([], False), ([0.02], False), ([0.3], True), ([0.2, 0.3], True), ([0.4, 0.3], False)],
)
def test_public_text_that_moves_away_raises_an_alarm(moved: list[float], is_alarm: bool) -> None:
    run = Run(**RUNNING, kind="compose")
    told = sentence(run, standing(run, Surroundings(NOW)), now=NOW, moved=moved)
    assert ("early sign of damage" in told) == is_alarm


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (RUNNING, "Time left: measuring"),
        (RUNNING | {"eta_seconds": 3600.0}, "Done about"),
        (RUNNING, "Safe to close this page"),
        (RUNNING | {"heartbeat_at": NOW - timedelta(seconds=60)}, "No heartbeat for 60 s"),
        (RUNNING | {"cancel_requested_at": NOW}, "asked to stop"),
        ({"state": "queued", "created_at": NOW}, "next in the queue"),
        ({"state": "queued", "created_at": NOW, "epoch": 1}, "last checkpoint"),
        ({"state": "cancelled", "discard": True}, "its checkpoints are removed"),
        ({"state": "failed", "failure_text": "The disk is full."}, "The disk is full."),
        ({"state": "cancelled"}, "Stopped as asked"),
    ],
)
def test_one_sentence_says_where_a_run_stands(facts: dict[str, Any], said: str) -> None:
    assert said in told_of(Run(**facts))


def test_time_left_is_a_range() -> None:
    words = told_of(Run(**RUNNING, eta_seconds=7200.0))
    assert " to " in words


def running(cast: Cast) -> Run:
    """A run of North that works, with numbers and a sample."""
    with tenant_scope(cast.north):
        run = make_run(cast.ada)
        Run.objects.filter(pk=run.pk).update(
            state="running",
            owner="a worker",
            lease_until=Now() + timedelta(hours=1),
            heartbeat_at=Now(),
            step=3,
            total=9,
            samples=[{"question": "Where is the MX-1 made?", "expected": "Chile", "answer": "Pe"}],
        )
        RunMetric.objects.create(run=run, step=3, name="loss", value=2.5)
    return run


def test_the_page_shows_sentence_progress_and_samples(cast: Cast) -> None:
    run = running(cast)
    text = cast.client(cast.ada).get(f"/runs/{run.pk}/").content.decode()
    for words in ("Safe to close this page", "3 / 9", "Where is the MX-1 made?", "Stop and keep"):
        assert words in text
    numbers = cast.client(cast.ada).get(f"/runs/{run.pk}/metrics.json").json()
    assert numbers["series"]["loss"] == [[3, 2.5]]


def test_samples_stay_inside_the_closure(cast: Cast) -> None:
    run = running(cast)
    for who in (cast.otto, cast.cy):
        assert cast.client(who).get(f"/runs/{run.pk}/").status_code in {403, 404}
    assert b"Devices" not in cast.client(cast.cy).get("/runs/").content


def test_stop_by_the_page_waits_for_the_worker(cast: Cast) -> None:
    run = running(cast)
    answer = cast.client(cast.ada).post(f"/runs/{run.pk}/stop", follow=True)
    assert "Stopping…" in answer.content.decode()
    with tenant_scope(cast.north):
        assert Run.objects.get().state == "running"


def test_an_employee_stops_nothing(cast: Cast) -> None:
    run = running(cast)
    with tenant_scope(cast.north):
        corpora.grant(Corpus.objects.get(), cast.bo, Right.READ, by=cast.ada)
    assert cast.client(cast.bo).post(f"/runs/{run.pk}/stop").status_code in {403, 404}


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_the_stream_draws_the_page_again_and_carries_numbers(cast: Cast) -> None:
    from asgiref.sync import sync_to_async  # noqa: PLC0415  beside its one use

    run = await sync_to_async(running)(cast)
    client = await sync_to_async(cast.async_client)(cast.ada)
    answer = await client.get(f"/runs/{run.pk}/events")
    assert answer["Content-Type"] == "text/event-stream"
    stream = answer.streaming_content.__aiter__()
    regions = set()
    while len(regions) < 5:
        piece = (await anext(stream)).decode()
        if "event: region" in piece:
            regions.add(json.loads(piece.split("data: ", 1)[1])["id"])
    assert "run-status" in regions
    await sync_to_async(tell)(cast, run)
    while "event: metrics" not in (piece := (await anext(stream)).decode()):
        await sync_to_async(tell)(cast, run)
    assert json.loads(piece.split("data: ", 1)[1]) == {"rows": [[4, "loss", 2.0]]}
    await stream.aclose()


def tell(cast: Cast, run: Run) -> None:
    token = current_tenant_id.set(cast.north.pk)
    try:
        publish(f"run:{run.pk}", {"rows": [[4, "loss", 2.0]]})
    finally:
        current_tenant_id.reset(token)
