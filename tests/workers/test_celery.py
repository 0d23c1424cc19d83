"""A real Celery worker: woken by itself, and leaving at SIGTERM with its run given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from django.conf import settings

from apps.runs.actions import start_augment
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from tests.cast import Cast
from tests.waiting import PATIENCE, wait_until
from tests.workers.making import AUGMENT, make_parents

pytestmark = pytest.mark.django_db(transaction=True)


GRACE = 60.0  # seconds from SIGTERM to the end, as a cluster would give


def start_worker(tmp_path: Path) -> subprocess.Popen[bytes]:
    """The worker of the queue `gpu`, as the installation starts it."""
    surroundings = os.environ | {"RUN_HEARTBEAT_SECONDS": "1", "RUN_LEASE_SECONDS": "5"}
    surroundings |= {"WORKER_DRAIN_SECONDS": str(int(GRACE))}
    surroundings["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "celery", "-A", "counterpoint", "--quiet", "worker"]
    command += ["-Q", "gpu", "-c", "1", "--without-gossip", "--without-mingle", "-n", "test@%h"]
    with (tmp_path / "worker.log").open("ab") as log:
        return subprocess.Popen(command, env=surroundings, stdout=log, stderr=log)


@pytest.mark.parametrize("tries", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_a_worker_that_leaves_saves_and_hands_back_within_its_grace_every_time(
    cast: Cast, tmp_path: Path, tries: int
) -> None:
    snapshot, anchor = make_parents(cast, tmp_path / "anchor")
    with tenant_scope(cast.north):
        long = AUGMENT | {"steps": 100_000, "checkpoint_every": 100_000}
        run = start_augment(snapshot, anchor=anchor, settings=long, by=cast.ada)
    saved = 0
    for attempt in range(1, tries + 1):
        worker = start_worker(tmp_path)
        try:
            # The watch in the worker itself wakes it: no beat runs here.
            assert wait_until(partial(is_training, cast, run, attempt, saved), PATIENCE)
            worker.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert worker.wait(PATIENCE) == 0
        finally:
            worker.kill()
            worker.wait()
        assert time.monotonic() - began < GRACE
        with tenant_scope(cast.north):
            run.refresh_from_db()
            assert (run.state, run.attempts, run.owner) == ("queued", 0, "")
            newest = run.checkpoints.first()
        # It saved where it was asked, not at the next multiple of `checkpoint_every`.
        assert newest is not None
        assert newest.step > saved
        saved = newest.step
        assert not (settings.HOME / "drain" / str(worker.pid)).exists()


def is_training(cast: Cast, run: Run, attempt: int, saved: int) -> bool:
    with tenant_scope(cast.north):
        rows = Run.objects.filter(pk=run.pk, epoch=attempt, stage="train", state="running")
        return rows.filter(step__gt=saved + 2).exists()
