"""Long work in a real child of `accelerate launch`: done, killed, refused, delivered twice."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from apps.evaluation.models import Report
from apps.registry import artifacts
from apps.registry.models import Alias, Augmenter, Composition
from apps.runs.actions import start_augment, start_estimate
from apps.runs.claims import claim
from apps.runs.models import Run
from apps.runs.wishes import ask_to_cancel
from apps.teaching.actions import start_plan
from apps.teaching.presets import QUICK
from apps.tenants.scope import tenant_scope
from calm_engine.specs import Estimate
from counterpoint.storage import run_folder
from tests.apps.registry.embedding import make_embedder
from tests.apps.runs.making import make_snapshot
from tests.cast import Cast
from tests.waiting import meanwhile
from tests.workers.making import AUGMENT, EVALUATE, make_parents
from workers import gpu
from workers.places import Place
from workers.processes import start_time

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores are shared with whatever else runs; a tiny model needs no more than one."""
    monkeypatch.setattr("workers.training.cores", lambda: 1)


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Once it is set, this worker drains."""
    event = threading.Event()
    monkeypatch.setattr("workers.gpu.is_draining", event.is_set)
    return event


def queued(cast: Cast, tmp_path: Path, **settings: object) -> Run:
    snapshot, anchor = make_parents(cast, tmp_path / "anchor")
    with tenant_scope(cast.north):
        return start_augment(snapshot, anchor=anchor, settings=AUGMENT | settings, by=cast.ada)


def now(cast: Cast, run: Run) -> Run:
    with tenant_scope(cast.north):
        return Run.objects.get(pk=run.pk)


def told(cast: Cast, run: Run) -> list[str]:
    with tenant_scope(cast.north):
        return list(run.events.values_list("kind", flat=True))


def test_one_wake_carries_a_quick_check_from_snapshot_to_report(cast: Cast, tmp_path: Path) -> None:
    """Beside it stand a corpus that is not learned, and models that find passages and judge."""
    snapshot, anchor = make_parents(cast, tmp_path / "anchor")
    make_embedder(cast.north, tmp_path / "embedder")
    reading = QUICK.settings["compose"] | {"passages": "@documents"}
    asked = EVALUATE | {"columns": ["anchor_rag"], "judge": str(anchor.pk)}
    settings = QUICK.settings | {"compose": reading, "evaluate": asked}
    with tenant_scope(cast.north):
        make_snapshot(cast.ada, "Strangers")
        plan = start_plan(snapshot, anchor, "Devices", cast.ada, settings=settings)
    gpu.wake()
    with tenant_scope(cast.north):
        runs = list(Run.objects.of_plan(plan.pk))
        assert [(run.kind, run.control, run.state, run.failure_text) for run in runs] == [
            ("augment", "none", "succeeded", ""),
            ("compose", "none", "succeeded", ""),
            ("compose", "random", "succeeded", ""),
            ("evaluate", "none", "succeeded", ""),
        ]
        augmenter, composition = Augmenter.objects.get(), Composition.objects.get()
        artifacts.verify(augmenter)
        artifacts.verify(composition)
        assert composition.parts() == [augmenter]
        assert Alias.objects.get().name == Alias.CANDIDATE
        report = Report.objects.get()
        assert {cell.column for cell in report.measured()} >= {
            "anchor",
            "augmenter",
            "composition",
            "random",
        }
        strange = report.cell("composition", "other_corpus", "not_learned")
        assert strange is not None
        assert strange.n == 8
        assert report.figures["reads"]["by_meaning"]
        assert runs[3].outcome is not None
        assert {"embedder", "judge"} <= set(runs[3].outcome["parents"])
        assert report.figures["judge"]["decided"] == 0  # short answers are decided by rules
        assert [run.outcome and run.outcome["facts"].get("dropped") for run in runs[1:3]] == [
            *({}, {})
        ]
        assert all("teacher_followed" in (run.outcome or {})["metrics"] for run in runs[1:3])
        assert [list(Path(run_folder(run.pk)).iterdir()) for run in runs] == [[], [], [], []]
        assert runs[0].metrics.filter(name="loss", step=QUICK.settings["augment"]["steps"]).exists()
    gpu.wake()  # delivered once more
    with tenant_scope(cast.north):
        assert Run.objects.count() == 4
    items = cast.client(cast.ada).get(f"/reports/{report.pk}/items")
    assert b"Where is the MX-" in items.content
    wrong = cast.client(cast.ada).get(f"/reports/{report.pk}/items?show=wrong")
    assert wrong.status_code == 200


def test_a_killed_child_is_resumed_from_its_checkpoint(
    cast: Cast, tmp_path: Path, leaving: threading.Event
) -> None:
    run = queued(cast, tmp_path, steps=400, checkpoint_every=10)
    place = place_of(cast, run)

    def kill() -> None:
        os.killpg(int(json.loads(place.child.read_text())["pid"]), signal.SIGKILL)

    with meanwhile(lambda: reached(place) > 12, kill, otherwise=leaving.set):
        gpu.wake()
    after = now(cast, run)
    assert (after.state, after.failure_text, after.epoch) == ("succeeded", "", 2)
    assert "requeued" in told(cast, run)
    assert after.died_at is not None
    with tenant_scope(cast.north):
        assert Augmenter.objects.get().run_id == run.pk


def place_of(cast: Cast, run: Run) -> Place:
    with tenant_scope(cast.north):
        return Place(Path(run_folder(run.pk)))


def reached(place: Place) -> int:
    """The newest step that the first attempt's child has told of."""
    file = place.events(1)
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return max((event.get("step", 0) for event in whole), default=0)


def test_a_running_run_stops_when_it_is_asked_to(
    cast: Cast, tmp_path: Path, leaving: threading.Event, settings: Any
) -> None:
    settings.RUN_HEARTBEAT_SECONDS = 1
    run = queued(cast, tmp_path, steps=100_000)
    place = place_of(cast, run)

    def stop() -> None:
        with tenant_scope(cast.north):
            ask_to_cancel(run, by=cast.ada)

    with meanwhile(lambda: reached(place) > 3, stop, otherwise=leaving.set):
        gpu.wake()
    after = now(cast, run)
    assert after.state == "cancelled"
    facts = json.loads(place.child.read_text())
    assert start_time(int(facts["pid"])) is None
    assert list(place.work.rglob("*.safetensors"))  # the checkpoint is kept for a second try


def test_a_fault_of_the_input_is_told_with_its_code(cast: Cast, tmp_path: Path) -> None:
    run = queued(cast, tmp_path, device="cuda")
    gpu.wake()
    after = now(cast, run)
    assert (after.state, after.failure_code) == ("failed", "device.missing")
    assert "no such device" in after.failure_text
    assert after.attempts == 1


def test_a_wake_finds_what_another_worker_holds_and_goes_home(cast: Cast, tmp_path: Path) -> None:
    run = queued(cast, tmp_path)
    held = claim("gpu", "another worker")
    assert held is not None
    gpu.wake()
    after = now(cast, run)
    assert (after.state, after.owner, after.epoch) == ("running", "another worker", held.epoch)


def test_a_dry_run_measures_on_the_device_and_leaves_nothing(cast: Cast, tmp_path: Path) -> None:
    snapshot, anchor = make_parents(cast, tmp_path / "anchor")
    with tenant_scope(cast.north):
        asked = {"augment": AUGMENT, "compose": {"steps": 4, "batch_size": 4}}
        run = start_estimate(snapshot, anchor=anchor, settings=asked, by=cast.ada)
    gpu.wake()
    after = now(cast, run)
    assert (after.state, after.failure_text) == ("succeeded", "")
    measured = Estimate.from_dict(after.outcome["facts"]["estimate"])
    assert measured.steps == AUGMENT["steps"]
    assert measured.seconds > 0
    assert measured.memory_bytes > 10**8
    assert measured.disk_bytes > 0
    bridges = measured.bridges
    assert bridges is not None, "tried on a newborn of the augmenter"
    assert (bridges.steps, bridges.bridges) == (4, None)
    assert min(bridges.seconds, bridges.disk_bytes) > 0
    assert bridges.memory_bytes >= measured.memory_bytes
    assert after.outcome["facts"]["device"]
    with tenant_scope(cast.north):
        assert not Augmenter.objects.exists()
        assert list(Path(run_folder(run.pk)).iterdir()) == []
