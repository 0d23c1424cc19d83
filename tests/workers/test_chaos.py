"""Runs of every kind and batches of files, through trouble: done once, and done right."""

from __future__ import annotations

import random
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from apps.evaluation.actions import start_evaluate
from apps.evaluation.models import Report
from apps.registry.models import Augmenter, Composition
from apps.runs.actions import start_augment, start_compose
from apps.runs.claims import claim
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from calm_engine.digests import weights_digest
from calm_engine.specs import Outcome, Progress, Spec
from counterpoint.storage import blobs
from tests.cast import Cast
from tests.workers import batches, making
from tests.workers.batches import Batches
from tests.workers.chaos import FILES, RUNS, Chaos
from workers import gpu

pytestmark = pytest.mark.django_db(transaction=True)
SEED = 7
COMPOSE: dict[str, Any] = {"steps": 12, "batch_size": 4, "checkpoint_every": 3, "device": "cpu"}
COMPOSE["least_recall"] = 0.0  # the augmenter is nobody's: it knows nothing
AUGMENT = making.AUGMENT | {"steps": 60, "checkpoint_every": 10}
EVENTS = ("kill_worker", "kill_child", "kill_reader", "stop_pool", "flush_broker")
EVENTS += ("deliver_twice", "restart_database", "fill_disk")


class InThisProcess:
    """The engine without a child: what an undisturbed run computes."""

    def __init__(self, verb: str, spec: Spec, *_: object, **__: object) -> None:
        from calm_engine import api  # noqa: PLC0415  loads torch

        self.work: Generator[Progress, None, Outcome] = getattr(api, verb)(spec)

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.work.close()

    def news(self, _wish: object) -> Generator[Progress, None, Outcome]:
        return self.work


def start(cast: Cast, tmp_path: Path, *, copies: int) -> list[list[UUID]]:
    """Runs of every kind, `copies` of each; each inner list does the same work."""
    with tenant_scope(cast.north):
        anchor = making.make_anchor(cast, tmp_path / "anchor")
        snapshot = making.make_snapshot(cast)
        made = making.publish(cast, snapshot, anchor, tmp_path, uuid4())
        (augmenter,) = made.parts()
        every: list[list[Run]] = [[], [], []]
        for _ in range(copies):
            by = cast.ada
            every[0].append(start_augment(snapshot, anchor=anchor, settings=AUGMENT, by=by))
            every[1].append(start_compose(anchor, augmenter, snapshot, settings=COMPOSE, by=by))
            every[2].append(start_evaluate(made, settings=making.EVALUATE, by=by))
    return [[run.pk for run in runs] for runs in every]


def undisturbed(cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[UUID]]:
    """Runs of every kind, of which the first of each is done here, without any trouble."""
    groups = start(cast, tmp_path, copies=2)
    twins = {group[0] for group in groups}
    with tenant_scope(cast.north):
        Run.objects.exclude(pk__in=twins).update(priority=9)
    with monkeypatch.context() as patch:
        patch.setattr("workers.training.Child", InThisProcess)
        patch.setattr("workers.training.cores", lambda: 1)
        for _ in groups:
            attempt = claim("gpu", "here")
            assert attempt is not None
            assert attempt.run_id in twins
            gpu.carry(attempt)
    return groups


def result_of(run_id: UUID) -> object:
    """What a run made, in a form that says whether two made the same. In the tenant's scope."""
    run = Run.objects.get(pk=run_id)
    assert run.state == "succeeded", (run.kind, run.state, run.failure_text)
    assert run.events.filter(kind="succeeded").count() == 1
    if run.kind == "augment":
        made = Augmenter.objects.get(run_id=run_id)
        return weights_digest(blobs().folder("augmenter", made.digest))
    if run.kind == "compose":
        composed = Composition.objects.get(run_id=run_id)
        return weights_digest(blobs().folder("composition", composed.digest))
    return Report.objects.get(run=run).cells


def assert_all_well(cast: Cast, chaos: Chaos, groups: list[list[UUID]]) -> None:
    with tenant_scope(cast.north):
        for group in groups:
            results = [result_of(code) for code in group]
            assert all(result == results[0] for result in results), "trouble changed a result"
    for code, seen in chaos.seen.items():
        assert seen.recomputed == [], f"{code} computed again what was saved: {seen}"
    chaos.files.assert_all_well()


def test_a_little_trouble_changes_nothing(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = undisturbed(cast, tmp_path, monkeypatch)
    files = Batches(cast, batches.undisturbed(cast), seeded(SEED))
    runs, listening = [group[1] for group in groups], [RUNS, RUNS, FILES]
    chaos = Chaos(cast, runs, files, tmp_path, listening)
    events = ["flush_broker", "kill_child", "restart_database", "deliver_twice", "kill_worker"]
    chaos.chance.shuffle(events)
    try:
        chaos.begin()
        chaos.go(events, between=(0.2, 1.0), patience=500)
    finally:
        chaos.end()
    assert_all_well(cast, chaos, groups)


@pytest.mark.slow
def test_two_hundred_troubles_change_nothing(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = undisturbed(cast, tmp_path, monkeypatch)
    expected = batches.undisturbed(cast)
    happened: list[str] = []
    seed = SEED
    while len(happened) < 200:
        seed += 1
        files = Batches(cast, expected, seeded(seed))
        chaos = Chaos(cast, fresh(cast, groups), files, tmp_path)
        events = [chaos.chance.choice(EVENTS) for _ in range(40)]
        try:
            chaos.begin()
            chaos.go(events, between=(0.2, 4.0), patience=3600)
        finally:
            chaos.end()
        happened += chaos.done
        print(f"{len(happened)} troubles, {len(files.sent)} uploads in this round")  # noqa: T201  progress
        doubled = [[group[0], code] for group, code in zip(groups, chaos.runs, strict=True)]
        assert_all_well(cast, chaos, doubled)
    assert set(happened) == set(EVENTS)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  from a seed on purpose


def fresh(cast: Cast, groups: list[list[UUID]]) -> list[UUID]:
    """The same work once more, as new runs; what waits from before is set aside."""
    from apps.runs import wishes  # noqa: PLC0415  beside its one use

    with tenant_scope(cast.north):
        for run in Run.objects.filter(state="queued"):
            wishes.ask_to_cancel(run, by=cast.ada)
        twins = [Run.objects.get(pk=group[0]) for group in groups]
        return [wishes.repeat(twin, by=cast.ada).pk for twin in twins]
