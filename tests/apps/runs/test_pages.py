"""Pages of runs as their reader uses them: compare, branch, log, many pages on one run."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from contextvars import copy_context
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection

from apps.corpora import actions as corpora
from apps.corpora.models import CorpusGrant, Right
from apps.runs import comparison, streams, wishes
from apps.runs.execution import _news
from apps.runs.models import Run, RunMetric, Slot
from apps.runs.pages import settings_of
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_scope
from calm_engine.specs import Progress
from counterpoint.database import current_tenant_id
from counterpoint.live import publish
from counterpoint.storage import run_folder
from tests.apps.runs.making import make_run
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)
OPEN = 25


@pytest.fixture
def run(cast: Cast) -> Run:
    with tenant_scope(cast.north):
        run = make_run(cast.ada)
        for step in range(1, 60):
            RunMetric.objects.create(run=run, step=step, name="loss", value=1 / step)
        return run


def page(cast: Cast, address: str) -> str:
    return cast.client(cast.ada).get(address).content.decode()


def test_only_what_differs_is_compared(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north):
        run.checkpoints.create(step=10, epoch=0, bytes=9, digest="a" * 64)
        branch = wishes.branch(run, 10, settings={"learning_rate": 0.0001}, by=cast.ada)
        assert comparison.differences([run, branch]) == [("learning_rate", [None, 0.0001])]
    text = page(cast, f"/runs/compare?run={run.pk}&run={branch.pk}")
    assert "learning_rate" in text
    assert "batch_size" not in text
    assert "Pick two runs" in page(cast, f"/runs/compare?run={run.pk}")


def test_a_strangers_run_is_compared_with_nothing(cast: Cast, run: Run) -> None:
    client = cast.client(cast.cy)
    for address in (f"/runs/compare?run={run.pk}", f"/runs/compare/curves.json?run={run.pk}"):
        assert client.get(address).status_code == 404
    assert client.get("/runs/compare?run=none").status_code == 404


def test_the_list_draws_each_loss_small(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north):
        points = comparison.sparklines([run.pk])[run.pk]
    assert len(points.split()) == comparison.POINTS
    assert points in page(cast, "/runs/")


def test_a_log_is_searched_and_its_absence_is_said(cast: Cast, run: Run) -> None:
    assert "lies on another machine" in page(cast, f"/runs/{run.pk}/log")
    with tenant_scope(cast.north):
        Run.objects.update(epoch=2)
        folder = Path(run_folder(run.pk))
    (folder / "child-2.log").write_text("one warning\n<b>two</b>\nthree warning\n")
    found = page(cast, f"/runs/{run.pk}/log?search=WARN")
    assert "three warning" in found
    assert "b&gt;two" not in found
    assert "&lt;b&gt;two" in page(cast, f"/runs/{run.pk}/log")
    assert "No line holds" in page(cast, f"/runs/{run.pk}/log?search=nowhere")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"step": "10", "steps": "5"}, "more than the step"),
        ({"step": "11"}, "valid choice"),
        ({"step": "10", "learning_rate": "7"}, "less than or equal"),
        ({}, "required"),
    ],
)
def test_a_branch_that_makes_no_sense_is_refused_at_its_field(
    cast: Cast, run: Run, asked: dict[str, str], said: str
) -> None:
    with tenant_scope(cast.north):
        run.checkpoints.create(step=10, epoch=0, bytes=9, digest="a" * 64)
    answer = cast.client(cast.ada).post(f"/runs/{run.pk}/branch", asked)
    assert answer.status_code == 422
    assert said in answer.content.decode()


def test_buttons_do_what_they_say(cast: Cast, run: Run) -> None:
    client = cast.client(cast.ada)
    for verb, kind in (("pause", "pause_asked"), ("go-on", "go_on"), ("discard", "cancelled")):
        assert client.post(f"/runs/{run.pk}/{verb}").status_code == 302
        with tenant_scope(cast.north):
            assert run.events.filter(kind=kind).exists(), verb
    assert (
        "Only a run that waits"
        in client.post(f"/runs/{run.pk}/pause", follow=True).content.decode()
    )


def test_the_device_of_a_run_is_told_beside_it(cast: Cast, run: Run) -> None:
    Slot.objects.create(name="here/gpu0", device="H200", memory_bytes=9, facts={"temperature": 61})
    with tenant_scope(cast.north):
        Run.objects.update(owner="here/gpu0", state="running", lease_until="2100-01-01T00:00Z")
    assert "61 °C" in page(cast, f"/runs/{run.pk}/")


# -- many pages ------------------------------------------------------------------------------------


def test_many_pages_on_one_run_are_drawn_as_one(cast: Cast, run: Run) -> None:
    client = cast.async_client(cast.ada)

    async def watched() -> int:
        answers = [await client.get(f"/runs/{run.pk}/events") for _ in range(OPEN)]
        pages = [aiter(answer.streaming_content) for answer in answers]
        for each in pages:  # every page is told of the run as it is
            while b"run-story" not in await anext(each):
                pass
        (watch,) = [each for each in streams._watches.values() if each.code == run.pk]
        for number in range(3):
            await sync_to_async(tell)(cast, run, 60 + number)
            for each in pages:
                while b"event: metrics" not in await anext(each):
                    pass
        draws = watch.draws
        for each in pages:
            await each.aclose()
        del each, pages, answers  # the site's own closing reaches the stream through the collector
        for _ in range(50):
            gc.collect()
            await asyncio.sleep(0.05)
            if watch not in streams._watches.values():
                return draws
        pytest.fail("nobody watches any more, and the watch goes on")

    # How soon they are told is measured in test_many_watch.
    draws = copy_context().run(async_to_sync(watched))
    assert draws < OPEN, "each page was drawn by itself"


def test_a_page_that_watches_holds_no_connection(cast: Cast, run: Run) -> None:
    client = cast.async_client(cast.ada)

    async def watched() -> object:
        answer = await client.get(f"/runs/{run.pk}/events")
        pieces = aiter(answer.streaming_content)
        while b"run-actions" not in await anext(pieces):
            pass
        held = await sync_to_async(lambda: connection.connection)()
        await pieces.aclose()
        return held

    assert copy_context().run(async_to_sync(watched)) is None


def tell(cast: Cast, run: Run, step: int) -> None:
    token = current_tenant_id.set(cast.north.pk)
    try:
        for _ in range(3):  # a page that has just come may not listen yet
            publish(f"run:{run.pk}", {"rows": [[step, "loss", 0.5]]})
            time.sleep(0.05)
    finally:
        current_tenant_id.reset(token)


def test_a_page_that_comes_back_begins_with_what_it_missed(cast: Cast, run: Run) -> None:
    client = cast.async_client(cast.ada)

    async def first() -> bytes:
        address = f"/runs/{run.pk}/events"
        answer = await client.get(address, headers={"Last-Event-ID": "57"})
        pieces = aiter(answer.streaming_content)
        while b"event: metrics" not in (piece := await anext(pieces)):
            pass
        await pieces.aclose()
        return piece

    piece = copy_context().run(async_to_sync(first)).decode()
    assert piece.startswith("id: 59\n")
    assert '[57, "loss"' in piece
    assert '[56, "loss"' not in piece


def test_a_right_that_is_taken_ends_the_stream(
    cast: Cast, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RIGHTS_SECONDS", 0.05)
    Membership.objects.filter(user=cast.bo).update(role=Role.CURATOR)
    with tenant_scope(cast.north):
        corpora.grant(run.snapshot.corpus, cast.bo, Right.READ, by=cast.ada)
    client = cast.async_client(cast.bo)

    def take_away() -> None:
        with tenant_scope(cast.north):
            CorpusGrant.objects.filter(user=cast.bo).delete()

    async def read_to_the_end() -> int:
        answer = await client.get(f"/runs/{run.pk}/events")
        pieces = aiter(answer.streaming_content)
        while b"run-actions" not in await anext(pieces):
            pass
        await sync_to_async(take_away)()
        return len([piece async for piece in pieces])

    assert copy_context().run(async_to_sync(read_to_the_end)) >= 0
    assert cast.client(cast.bo).get(f"/runs/{run.pk}/events").status_code == 404


def test_a_checkpoint_offers_to_branch_from_there(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north):
        for step in (10, 20):
            run.checkpoints.create(step=step, epoch=0, bytes=9, digest="a" * 64)
    text = page(cast, f"/runs/{run.pk}/")
    assert f"/runs/{run.pk}/?branch=10#branch" in text
    chosen = page(cast, f"/runs/{run.pk}/?branch=10")
    assert '<details class="card" id="branch" open>' in chosen
    assert '<option value="10" selected>' in chosen
    for wrong in ("11", "x", "9" * 40):
        assert 'id="branch" open' not in page(cast, f"/runs/{run.pk}/?branch={wrong}")


def test_settings_that_somebody_chose_stand_first(cast: Cast) -> None:
    with tenant_scope(cast.north):
        row = Run.objects.get(pk=make_run(cast.ada, "Others", steps=7).pk)
        assert settings_of(row, own=True) == [("steps", 7)]
        assert ("steps", 7) not in settings_of(row, own=False)


def test_pace_and_memory_are_told_as_they_are_now(cast: Cast, run: Run) -> None:
    assert "s a step" not in page(cast, f"/runs/{run.pk}/")
    told = {"seconds_per_step": 0.25, "tokens_per_second": 12_345.6, "memory_bytes": 3 * 2**30}
    with tenant_scope(cast.north):
        for step in (20, 40):
            for name, value in told.items():
                RunMetric.objects.create(run=run, step=step, name=name, value=value * step / 40)
    text = page(cast, f"/runs/{run.pk}/")
    assert "0.25 s a step, 12,346 tokens a second" in text
    assert re.search(r"Memory it holds</dt>\s*<dd>3.0\xa0GB", text)


def test_a_step_stays_while_the_result_is_saved(cast: Cast) -> None:
    assert _news(Progress("train", step=9, total=9))["step"] == 9
    assert "step" not in _news(Progress("save"))
