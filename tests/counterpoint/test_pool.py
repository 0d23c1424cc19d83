"""A web process shares few connections among many requests, and no tenant's name stays on one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.db import OperationalError
from django.test import RequestFactory
from psycopg_pool import PoolTimeout

from apps.accounts.actions import issue_key
from apps.tenants.models import Tenant
from counterpoint import views
from counterpoint.database.pool import is_exhausted
from tests.cast import Cast
from tests.waiting import free_port, wait_until

POOL, AT_ONCE = 2, 150  # PostgreSQL has a hundred in all
ROOT = Path(__file__).resolve().parents[2]
MINE = "SELECT pid FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"


@pytest.fixture
def site(cast: Cast, tmp_path: Path) -> Iterator[tuple[str, set[int]]]:
    """The site in a process of its own, and whose connections there were before it."""
    before = connections()
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "counterpoint.asgi:application"]
    command += ["--port", str(port), "--timeout-graceful-shutdown", "1"]
    surroundings = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")]),
        "DATABASE_POOL": str(POOL),
        "DATABASE_POOL_SECONDS": "300",  # however slow this machine is
    }
    log = tmp_path / "web.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env=surroundings, stdout=out, stderr=out, cwd=ROOT) as process,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            assert wait_until(lambda: answers(address), 120), log.read_text()
            yield address, before
        finally:
            process.terminate()


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def connections() -> set[int]:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as own:
        return {row[0] for row in own.execute(MINE)}


def key_of(person: Any, tenant: Tenant) -> str:
    return issue_key(person, tenant, "directory", scopes=["scim"])[1]


async def asked(address: str, keys: list[str]) -> list[httpx.Response]:
    """Everybody at the same time."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=300, trust_env=False) as client:
        there = f"{address}/scim/v2/Groups"
        return await asyncio.gather(
            *(client.get(there, headers={"Authorization": f"Bearer {key}"}) for key in keys)
        )


@pytest.mark.django_db(transaction=True)
def test_more_at_once_than_the_database_has_connections_and_each_in_its_own_tenant(
    cast: Cast, site: tuple[str, set[int]]
) -> None:
    address, before = site
    keys = {"north": key_of(cast.ada, cast.north), "south": key_of(cast.cy, cast.south)}
    made = {}
    for name, key in keys.items():
        head = {"Authorization": f"Bearer {key}"}
        answer = httpx.post(
            f"{address}/scim/v2/Groups", json={"displayName": name}, headers=head, trust_env=False
        )
        made[name] = answer.json()["id"]
    names = ["north", "south"] * (AT_ONCE // 2)
    found = asyncio.run(asked(address, [keys[name] for name in names]))
    assert {each.status_code for each in found} == {200}
    for name, each in zip(names, found, strict=True):
        assert [row["id"] for row in each.json()["Resources"]] == [made[name]]
    theirs = connections() - before
    assert 0 < len(theirs) <= POOL
    # The database is restarted: nobody is handed a connection that is dead.
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as own:
        for pid in theirs:
            own.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert {each.status_code for each in asyncio.run(asked(address, [keys["north"]] * 6))} == {200}


def fail(error: Exception) -> None:
    raise error


def test_who_waited_too_long_for_a_connection_is_told_to_come_back() -> None:
    busy, other = OperationalError("no connection"), OperationalError("no table")
    busy.__cause__ = PoolTimeout()
    found = []
    for error in (busy, other):
        try:
            fail(error)
        except OperationalError:
            found.append(views.broken(RequestFactory().get("/")))
    assert [answer.status_code for answer in found] == [503, 500]
    assert found[0]["Retry-After"] == "10"
    assert b"Too many people at once" in found[0].content
    assert not is_exhausted(None)
