"""A real model server and a real training on one device, here the processor, under two policies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings as site

from apps.registry.models import Placement
from apps.runs.actions import start_augment
from apps.runs.claims import claim
from apps.runs.endings import cancel
from apps.runs.models import Run, Slot
from apps.tenants.scope import tenant_scope
from tests.cast import Cast
from tests.workers.making import AUGMENT
from tests.workers.test_hosting import live, serving, ticked
from workers import devices, gpu, hosting, watch
from workers.hosting import Host

pytestmark = pytest.mark.django_db(transaction=True)


def test_chat_and_training_share_a_device_by_policy(
    cast: Cast, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.training.cores", lambda: 1)
    monkeypatch.setattr(hosting, "RENEW_SECONDS", 0.2)
    secret = tmp_path / "secret"
    secret.write_text("only-for-this-test\n", encoding="utf-8")
    host = Host("here", threads=1, secret=secret, logs=Path(site.HOME) / "logs")
    row = live(cast, tmp_path)
    watch.tell_of_slot()
    try:
        ticked(host, lambda: serving(cast) == [row.pk])
        time.sleep(0.2)
        host.tick()
        slot = Slot.objects.get()
        assert slot.serving_bytes > 10**8, "what the server really holds of the machine"

        settings.ACCELERATOR_POLICY = "share"
        first = queued(cast)
        with tenant_scope(cast.north):
            Run.objects.update(device_bytes=slot.memory_bytes - slot.serving_bytes // 2)
        gpu.wake()
        assert state(cast, first) == "queued", "it does not fit beside the server"
        with tenant_scope(cast.north):
            Run.objects.update(device_bytes=10**6)
        gpu.wake()
        assert state(cast, first) == "succeeded"
        with tenant_scope(cast.north):
            address = Placement.objects.get().address
        assert httpx.get(f"{address}/healthz").status_code == 200, "chat went on all the while"

        settings.ACCELERATOR_POLICY = "drain"
        second = queued(cast)
        gpu.wake()
        assert state(cast, second) == "queued", "chat has not yet let go"
        seat = host.seats[row.pk]
        ticked(host, lambda: seat.server is None)
        assert told(cast)[0] == "resting"
        assert "A training has asked for this accelerator" in told(cast)[1]
        attempt = claim("gpu", devices.slot_name())
        assert attempt is not None
        assert attempt.run_id == second.pk
        host.tick()
        assert seat.server is None, "a training works"
        with tenant_scope(cast.north):
            cancel(Run.objects.get(pk=second.pk))
        ticked(host, lambda: seat.server is not None)
        assert told(cast)[0] == "starting"
    finally:
        host.stop()
    assert Slot.objects.get().serving_until is None


def queued(cast: Cast) -> Run:
    with tenant_scope(cast.north):
        known = Placement.objects.select_related("composition__snapshot__corpus").get()
        made = known.composition
        return start_augment(made.snapshot, anchor=made.anchor, settings=AUGMENT, by=cast.ada)


def state(cast: Cast, run: Run) -> str:
    with tenant_scope(cast.north):
        run.refresh_from_db()
        assert run.state != "failed", run.failure_text
        return str(run.state)


def told(cast: Cast) -> tuple[str, str]:
    with tenant_scope(cast.north):
        placement = Placement.objects.get()
        return str(placement.state), placement.reason
