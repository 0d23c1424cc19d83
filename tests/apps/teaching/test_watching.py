"""Watching a plan or a run live: regions first, then what changed, and an end with the right."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from apps.accounts.models import User
from apps.corpora.models import CorpusGrant
from apps.runs.models import Run
from apps.teaching import views
from apps.teaching.models import Plan
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_scope
from tests.browser.making import fill
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(views, "BEAT_SECONDS", 0.05)


def watch(
    cast: Cast, user: User, address: str, count: int, then: Callable[[], None] | None = None
) -> list[str]:
    """The first `count` pieces of a stream, then whatever comes after `then`, to its end."""
    client = cast.async_client(user)

    async def read() -> list[str]:
        answer = await client.get(address)
        assert answer.status_code == 200
        pieces = aiter(answer.streaming_content)
        found = [(await anext(pieces)).decode() for _ in range(count)]
        if then is not None:
            await sync_to_async(then)()
            found += [piece.decode() async for piece in pieces]
        return found

    # In a copy: a stream names its tenant in the context that it runs in.
    return copy_context().run(async_to_sync(read))


def regions(pieces: list[str]) -> dict[str, str]:
    """HTML by region, the last one of each."""
    lines = [line for piece in pieces for line in piece.splitlines() if line.startswith("data: ")]
    told: list[dict[str, Any]] = [json.loads(line.removeprefix("data: ")) for line in lines]
    return {each["id"]: each["html"] for each in told if "html" in each}


def of(rows: list[Any], model: type) -> Any:
    return next(row for row in rows if isinstance(row, model))


def test_a_plan_is_drawn_and_then_kept_alive(cast: Cast) -> None:
    plan = of(fill(cast), Plan)
    pieces = watch(cast, cast.ada, f"/teach/{plan.pk}/events", 4)
    assert set(regions(pieces)) == {"plan-strip", "plan-runs"}
    assert any(piece.startswith(":") for piece in pieces)  # a sign of life, since nothing changed


def test_what_changes_in_a_plan_is_drawn_again_and_a_lost_right_ends_it(cast: Cast) -> None:
    plan = of(fill(cast), Plan)
    with tenant_scope(cast.north):
        CorpusGrant.objects.filter(user=cast.bo).delete()
        CorpusGrant.objects.create(corpus=plan.corpus, user=cast.bo, right="curate")
    Membership.objects.filter(user=cast.bo).update(role=Role.CURATOR)

    def take_away() -> None:
        with tenant_scope(cast.north):
            CorpusGrant.objects.filter(user=cast.bo).delete()

    pieces = watch(cast, cast.bo, f"/teach/{plan.pk}/events", 2, take_away)
    assert set(regions(pieces)) == {"plan-strip", "plan-runs"}


def test_a_run_is_drawn_region_by_region(cast: Cast) -> None:
    run = of(fill(cast), Run)
    names = ("strip", "status", "device", "samples", "checkpoints", "story", "actions")
    drawn = regions(watch(cast, cast.ada, f"/runs/{run.pk}/events", len(names) + 1))
    assert set(drawn) == {f"run-{name}" for name in names}
    assert "Finished in" in drawn["run-status"]


def test_the_numbers_of_a_run_are_series_for_the_plot(cast: Cast) -> None:
    run = of(fill(cast), Run)
    told = cast.client(cast.ada).get(f"/runs/{run.pk}/metrics.json").json()
    assert set(told["series"]) == {"loss", "held_out_loss", "recall"}
    assert told["series"]["loss"][0][0] == 0


def test_a_colleague_without_the_corpus_cannot_watch(cast: Cast) -> None:
    rows = fill(cast)
    Membership.objects.filter(user=cast.otto).update(role=Role.CURATOR)
    client = cast.client(cast.otto)
    assert client.get(f"/teach/{of(rows, Plan).pk}/events").status_code == 404
    assert client.get(f"/runs/{of(rows, Run).pk}/events").status_code == 404
