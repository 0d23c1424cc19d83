"""What lies about on a worker: removed when its time is over, named when it is nobody's."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from apps.runs.models import Run, Slot
from apps.tenants.scope import tenant_scope
from counterpoint.storage import blobs, run_folder
from tests.apps.runs.making import make_run
from tests.cast import Cast
from workers import gpu, leftovers, watch
from workers.places import Place
from workers.processes import start_time

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(cast: Cast) -> Run:
    with tenant_scope(cast.north):
        return make_run(cast.ada)


def folder_of(cast: Cast, run: Run, **state: Any) -> Path:
    with tenant_scope(cast.north):
        Run.objects.update(**state)
        folder = Path(run_folder(run.pk))
    (folder / "spec.json").write_text("{}")
    return folder


def test_a_failed_runs_folder_is_kept_for_its_days_and_then_goes(cast: Cast, run: Run) -> None:
    folder = folder_of(cast, run, state="failed", failure_code="x.y", finished_at=Now())
    assert leftovers.sweep() == []
    assert folder.exists()
    old = time.time() - 15 * leftovers.DAY
    os.utime(folder, (old, old))
    leftovers.sweep()
    assert not folder.exists()


def test_a_discarded_runs_folder_goes_at_once_and_an_active_ones_never(
    cast: Cast, run: Run
) -> None:
    folder = folder_of(cast, run)
    os.utime(folder, (0, 0))
    leftovers.sweep()
    assert folder.exists()
    folder_of(cast, run, state="cancelled", discard=True, finished_at=Now())
    leftovers.sweep()
    assert not folder.exists()


def test_folders_and_results_of_nobody_are_named_and_left(cast: Cast, run: Run) -> None:
    stray = uuid4()
    with tenant_scope(cast.north):
        folder = Path(run_folder(stray))
        result = blobs().kind_folder("augmenter") / ("a" * 64)
    result.mkdir()
    old = time.time() - 2 * leftovers.YOUNG
    os.utime(result, (old, old))
    watch.sweep()
    (slot,) = Slot.objects.all()
    assert f"Folder {stray} of no run, 0 MB" in slot.orphans
    assert "Stored augmenter aaaaaaaaaaaa of no row, 0 MB" in slot.orphans
    assert folder.exists()
    assert "of no run" in cast.client(cast.ada).get("/runs/").content.decode()


def test_a_process_that_outlived_its_attempt_is_named(cast: Cast, run: Run) -> None:
    folder = folder_of(cast, run)
    left = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        facts = {"pid": left.pid, "started": start_time(left.pid), "epoch": 1}
        Place(folder).child.write_text(json.dumps(facts))
        assert leftovers.sweep() == [f"Process {left.pid} of attempt 1 of run {run.pk}"]
    finally:
        left.kill()
        left.wait()


def test_on_a_disk_that_is_nearly_full_no_run_begins(cast: Cast, run: Run, settings: Any) -> None:
    settings.RUN_DISK_RESERVE_BYTES = 2**60
    gpu.wake()
    watch.tell_of_slot()
    with tenant_scope(cast.north):
        assert Run.objects.get().epoch == 0
    assert "waiting for disk" in cast.client(cast.ada).get("/runs/").content.decode()


def test_a_round_of_the_watch_gives_back_and_tells(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north):
        Run.objects.update(
            state="running", owner="gone", lease_until="2000-01-01T00:00Z", attempts=1, epoch=1
        )
    watch.look_after_runs()
    watch.tell_of_slot()
    with tenant_scope(cast.north):
        assert Run.objects.get().state == "queued"
    assert Slot.objects.get().memory_bytes > 0
