"""Workers that die, leave or are overtaken, with real children: no work lost, none done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from apps.registry.models import Augmenter
from apps.runs.actions import start_augment
from apps.runs.claims import claim
from apps.runs.endings import reap
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from counterpoint.storage import run_folder
from tests.cast import Cast
from tests.waiting import PATIENCE, meanwhile, wait_until
from tests.workers.making import AUGMENT, make_parents
from workers import gpu
from workers.places import Place
from workers.processes import living

pytestmark = pytest.mark.django_db(transaction=True)
LONG = AUGMENT | {"steps": 150, "checkpoint_every": 5}
ENDLESS = LONG | {"steps": 100_000}  # whatever happens to it happens before its end
WORKER = "import workers.training as t; t.cores = lambda: 1; from workers import gpu; gpu.wake()"


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr("workers.training.cores", lambda: 1)
    settings.RUN_HEARTBEAT_SECONDS = 1


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Once it is set, this worker drains."""
    event = threading.Event()
    monkeypatch.setattr("workers.gpu.is_draining", event.is_set)
    return event


def start(cast: Cast, tmp_path: Path, settings: dict[str, Any]) -> tuple[Run, Place]:
    snapshot, anchor = make_parents(cast, tmp_path / "anchor")
    with tenant_scope(cast.north):
        run = start_augment(snapshot, anchor=anchor, settings=settings, by=cast.ada)
        return run, Place(Path(run_folder(run.pk)))


def steps(place: Place, epoch: int) -> list[int]:
    """The training steps that the child of this attempt has told of."""
    file = place.events(epoch)
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    told = [json.loads(line) for line in lines if line.endswith("\n")]
    return [event["step"] for event in told if event.get("stage") == "train"]


def has_saved(place: Place) -> bool:
    """Whether the first attempt is far enough for a checkpoint to be there."""
    return max(steps(place, 1), default=0) > 12


def now(cast: Cast, run: Run) -> Run:
    with tenant_scope(cast.north):
        return Run.objects.get(pk=run.pk)


def child_of(place: Place) -> int:
    return int(json.loads(place.child.read_text())["pid"])


def test_a_killed_worker_takes_its_child_along_and_another_goes_on(
    cast: Cast, tmp_path: Path
) -> None:
    run, place = start(cast, tmp_path, LONG)
    surroundings = os.environ | {"RUN_LEASE_SECONDS": "3", "RUN_HEARTBEAT_SECONDS": "1"}
    surroundings["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    worker = subprocess.Popen([sys.executable, "-c", WORKER], env=surroundings)
    try:
        assert wait_until(lambda: has_saved(place), PATIENCE)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    # The launcher and the rank under it.
    assert wait_until(lambda: not living(child_of(place)), PATIENCE)
    assert wait_until(lambda: reap() == 1, PATIENCE)
    gpu.wake()
    after = now(cast, run)
    assert (after.state, after.failure_text, after.epoch) == ("succeeded", "", 2)
    with tenant_scope(cast.north):
        assert Augmenter.objects.get().run_id == run.pk
        told_steps = list(after.metrics.filter(name="loss").values_list("step", flat=True))
    assert len(told_steps) == len(set(told_steps))
    assert max(told_steps) == LONG["steps"]


def test_a_leaving_worker_saves_and_gives_the_run_back(
    cast: Cast, tmp_path: Path, leaving: threading.Event
) -> None:
    run, place = start(cast, tmp_path, ENDLESS)
    with meanwhile(lambda: has_saved(place), leaving.set, otherwise=leaving.set):
        gpu.wake()
    given_back = now(cast, run)
    assert (given_back.state, given_back.attempts, given_back.epoch) == ("queued", 0, 1)
    reached = max(steps(place, 1))
    leaving.clear()
    with meanwhile(lambda: steps(place, 2), leaving.set, otherwise=leaving.set):
        gpu.wake()
    # It saved where it was when it was asked, not at the last multiple of `checkpoint_every`.
    assert min(steps(place, 2)) >= reached


def test_a_worker_that_was_overtaken_kills_its_child_and_publishes_nothing(
    cast: Cast, tmp_path: Path, leaving: threading.Event
) -> None:
    run, place = start(cast, tmp_path, ENDLESS)

    def overtake() -> None:
        # In one transaction: the heartbeat cannot renew the lease in between.
        with tenant_scope(cast.north):
            Run.objects.filter(pk=run.pk).update(lease_until=Now() - timedelta(hours=1))
            assert reap() == 1
            assert claim("gpu", "another worker") is not None

    with meanwhile(lambda: has_saved(place), overtake, otherwise=leaving.set):
        gpu.wake()
    after = now(cast, run)
    assert (after.state, after.owner, after.epoch) == ("running", "another worker", 2)
    assert not living(child_of(place))
    assert not place.output.exists()
    with tenant_scope(cast.north):
        assert not Augmenter.objects.exists()
