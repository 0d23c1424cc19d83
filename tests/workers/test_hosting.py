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

from apps.registry.actions import promote, quarantine
from apps.registry.models import Alias, Composition, Placement
from apps.tenants.scope import tenant_scope
from tests.cast import Cast
from tests.waiting import PATIENCE
from tests.workers.making import make_anchor, make_snapshot, publish
from workers.hosting import Host
from workers.servers import Engine

pytestmark = pytest.mark.django_db(transaction=True)


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
    server = host.servers[row.pk]
    assert server.process is not None
    first = server.process.pid
    os.killpg(first, signal.SIGKILL)
    server.process.wait()
    host.tick()
    assert serving(cast) == []
    ticked(host, lambda: serving(cast) == [row.pk])
    assert server.process.pid != first


def test_a_promoted_version_replaces_the_one_before_when_it_is_ready(
    cast: Cast, host: Host, tmp_path: Path
) -> None:
    row = live(cast, tmp_path)
    ticked(host, lambda: serving(cast) == [row.pk])
    newer = next_version(cast, row, tmp_path / "newer")
    host.tick()
    assert serving(cast) == [row.pk]  # the old one answers until the new one does
    ticked(host, lambda: serving(cast) == [newer.pk])
    assert list(host.servers) == [newer.pk]


def test_a_quarantined_version_is_stopped_at_once(cast: Cast, host: Host, tmp_path: Path) -> None:
    row = live(cast, tmp_path)
    ticked(host, lambda: serving(cast) == [row.pk])
    with tenant_scope(cast.north):
        quarantine(row, by=cast.ada, reason="It leaks.")
    host.tick()
    assert serving(cast) == []
    assert host.servers == {}
