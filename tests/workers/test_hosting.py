"""The model host with real model servers: served, brought back, replaced, barred."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from django.conf import settings
from django.utils import timezone

from apps.registry import hosts
from apps.registry.actions import keep_warm, promote, quarantine
from apps.registry.models import Alias, Composition, Placement
from apps.tenants.scope import tenant_scope
from tests.cast import Cast
from tests.waiting import PATIENCE
from tests.workers.making import make_anchor, make_snapshot, publish
from workers import hosting, seats
from workers.hosting import Host
from workers.servers import Engine, needs_of, needs_of_anchor

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = {"Authorization": "Bearer only-for-this-test"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    secret = tmp_path / "secret"
    secret.write_text("only-for-this-test\n", encoding="utf-8")
    host = Host("here", threads=1, secret=secret, logs=Path(settings.HOME) / "logs")
    yield host
    host.stop()


def live(cast: Cast, folder: Path) -> Composition:
    """A composition of North, promoted."""
    with tenant_scope(cast.north):
        snapshot = make_snapshot(cast)
        anchor = make_anchor(cast, folder / "anchor")
        row = publish(cast, snapshot, anchor, folder, uuid4())
        promote(row, Alias.LIVE, by=cast.ada)
    return row


def next_version(cast: Cast, row: Composition, folder: Path) -> Composition:
    with tenant_scope(cast.north):
        folder.mkdir()
        newer = publish(cast, row.snapshot, row.anchor, folder, uuid4())
        promote(newer, Alias.LIVE, by=cast.ada)
    return newer


def another(cast: Cast, row: Composition, folder: Path, *, name: str, seed: int) -> Composition:
    """A model of another name on the same anchor, promoted."""
    with tenant_scope(cast.north):
        folder.mkdir()
        made = publish(cast, row.snapshot, row.anchor, folder, uuid4(), name=name, seed=seed)
        promote(made, Alias.LIVE, by=cast.ada)
    return made


def ticked(host: Host, until: Callable[[], bool]) -> None:
    """Let the host look and act until something is so."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        host.tick()
        if until():
            return
        time.sleep(0.2)
    pytest.fail("the host did not get there")


def serving(cast: Cast) -> list[UUID]:
    with tenant_scope(cast.north):
        return list(Placement.objects.serving().values_list("composition_id", flat=True))


def test_servers_run_in_the_environment_that_the_host_is_told_of(
    cast: Cast, host: Host, tmp_path: Path
) -> None:
    """As vLLM's, which has one of its own."""
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\ntouch "{tmp_path}/used"\nexec "{sys.executable}" "$@"\n')
    other.chmod(0o700)
    host.engine = Engine(python=str(other))
    row = live(cast, tmp_path)
    ticked(host, lambda: serving(cast) == [row.pk])
    assert (tmp_path / "used").exists()


def test_what_is_live_is_served_and_brought_back_when_it_dies(
    cast: Cast, host: Host, tmp_path: Path
) -> None:
    row = live(cast, tmp_path)
    ticked(host, lambda: serving(cast) == [row.pk])
    with tenant_scope(cast.north):
        address = Placement.objects.get().address
    assert httpx.get(f"{address}/healthz").status_code == 200
    (server,) = host.servers
    assert server.process is not None
    first = server.process.pid
    os.killpg(first, signal.SIGKILL)
    server.process.wait()
    host.tick()
    assert serving(cast) == []
    ticked(host, lambda: serving(cast) == [row.pk])
    assert [each.process.pid for each in host.servers if each.process] != [first]


def test_a_promoted_version_replaces_the_one_before_when_it_is_ready(
    cast: Cast, host: Host, tmp_path: Path
) -> None:
    row = live(cast, tmp_path)
    ticked(host, lambda: serving(cast) == [row.pk])
    newer = next_version(cast, row, tmp_path / "newer")
    host.tick()
    assert serving(cast) == [row.pk]  # the old one answers until the new one does
    ticked(host, lambda: serving(cast) == [newer.pk])
    assert list(host.seats) == [newer.pk]


def test_a_quarantined_version_is_stopped_at_once(cast: Cast, host: Host, tmp_path: Path) -> None:
    row = live(cast, tmp_path)
    ticked(host, lambda: serving(cast) == [row.pk])
    with tenant_scope(cast.north):
        quarantine(row, by=cast.ada, reason="It leaks.")
    host.tick()
    assert serving(cast) == []
    assert host.seats == {}


def state_of(cast: Cast, row: Composition) -> tuple[str, str]:
    with tenant_scope(cast.north):
        found = Placement.objects.get(composition=row)
    return found.state, found.reason


def process_of(host: Host) -> int:
    (server,) = host.servers
    assert server.process is not None
    return server.process.pid


def answered(cast: Cast, row: Composition) -> str:
    """What its server says under its name."""
    with tenant_scope(cast.north):
        (address,) = hosts.addresses_of(row)
    body = {"model": row.name, "prompt": "Where", "max_tokens": 4, "temperature": 0}
    told = httpx.post(f"{address}/v1/completions", json=body, headers=SECRET, timeout=20)
    assert told.status_code == 200, told.text
    return str(told.json()["system_fingerprint"])


def test_models_on_one_anchor_share_a_server_and_come_and_go_alone(
    cast: Cast, host: Host, tmp_path: Path
) -> None:
    row = live(cast, tmp_path)
    ticked(host, lambda: serving(cast) == [row.pk])
    process = process_of(host)
    other = another(cast, row, tmp_path / "other", name="Tickets", seed=8)
    ticked(host, lambda: set(serving(cast)) == {row.pk, other.pk})
    assert process_of(host) == process
    assert {answered(cast, one) for one in (row, other)} == {
        f"calm-{one.digest[:16]}" for one in (row, other)
    }
    newer = next_version(cast, row, tmp_path / "newer")
    ticked(host, lambda: set(serving(cast)) == {newer.pk, other.pk})
    assert process_of(host) == process
    assert answered(cast, newer) == f"calm-{newer.digest[:16]}"
    with tenant_scope(cast.north):
        quarantine(newer, by=cast.ada, reason="It leaks.")
    host.tick()
    assert serving(cast) == [other.pk]
    assert answered(cast, other)
    assert process_of(host) == process


def test_when_a_shared_server_dies_all_come_back(cast: Cast, host: Host, tmp_path: Path) -> None:
    row = live(cast, tmp_path)
    other = another(cast, row, tmp_path / "other", name="Tickets", seed=8)
    ticked(host, lambda: set(serving(cast)) == {row.pk, other.pk})
    (server,) = host.servers
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    host.tick()
    assert serving(cast) == []
    ticked(host, lambda: set(serving(cast)) == {row.pk, other.pk})


def test_who_is_asked_least_sleeps_until_somebody_asks(
    cast: Cast, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seats, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(hosting, "SETTLE_SECONDS", 0.0)
    row = live(cast, tmp_path)
    ticked(host, lambda: serving(cast) == [row.pk])
    room = needs_of_anchor(host.seats[row.pk].wanted) + needs_of(host.seats[row.pk].wanted)
    monkeypatch.setattr(host, "_room", lambda: room if not host.servers else 0)
    other = another(cast, row, tmp_path / "other", name="Tickets", seed=8)
    host.tick()
    host.tick()
    assert serving(cast) == [row.pk]
    assert state_of(cast, other) == ("asleep", "There is no room for it on this host.")

    with tenant_scope(cast.north):
        hosts.wake(other)
        assert hosts.is_starting(other, now=timezone.now())
    ticked(host, lambda: serving(cast) == [other.pk])
    assert state_of(cast, row) == (
        "asleep",
        "Another model needs its room. A question wakes it.",
    )
    with tenant_scope(cast.north):
        assert Placement.objects.get(composition=other).asked_at is None

    with tenant_scope(cast.north):
        keep_warm(other, kept=True, by=cast.ada)
        hosts.wake(row)
    for _ in range(3):
        host.tick()
    assert serving(cast) == [other.pk]
    with tenant_scope(cast.north):
        keep_warm(other, kept=False, by=cast.ada)
        keep_warm(row, kept=True, by=cast.ada)
    ticked(host, lambda: serving(cast) == [row.pk])
