"""A real Celery worker: woken by a message, and leaving at SIGTERM with its run given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from apps.runs.actions import start_augment
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from tests.cast import Cast
from tests.waiting import wait_until
from tests.workers.making import AUGMENT, make_parents
from workers import watch

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 300.0  # a machine that is busy with other things starts processes slowly


@pytest.fixture
def worker(db: None, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The worker of the queue `gpu`, as the installation starts it."""
    surroundings = os.environ | {"RUN_HEARTBEAT_SECONDS": "1", "RUN_LEASE_SECONDS": "5"}
    surroundings["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "celery", "-A", "counterpoint", "--quiet", "worker"]
    command += ["-Q", "gpu", "-c", "1", "--without-gossip", "--without-mingle", "-n", "test@%h"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=surroundings, stdout=log, stderr=log)
    yield process
    process.kill()
    process.wait()


def test_a_worker_is_woken_and_leaves_with_its_run_given_back(
    cast: Cast, tmp_path: Path, worker: subprocess.Popen[bytes]
) -> None:
    snapshot, anchor = make_parents(cast, tmp_path / "anchor")
    with tenant_scope(cast.north):
        long = AUGMENT | {"steps": 100_000, "checkpoint_every": 1000}
        run = start_augment(snapshot, anchor=anchor, settings=long, by=cast.ada)

    def is_training() -> bool:
        watch.look_after_runs()  # a worker that was slow to start is called again
        with tenant_scope(cast.north):
            return Run.objects.filter(pk=run.pk, stage="train", step__gt=2).exists()

    assert wait_until(is_training, PATIENCE), "the worker was not woken"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
    with tenant_scope(cast.north):
        run.refresh_from_db()
        assert (run.state, run.attempts, run.owner) == ("queued", 0, "")
        assert "requeued" in run.events.values_list("kind", flat=True)
    assert not (settings.HOME / "drain" / str(worker.pid)).exists()
