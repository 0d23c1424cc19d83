"""Back to a moment between two backups, as docs/operate/backup.md tells it, on a real server."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from counterpoint.embedded import binaries
from counterpoint.embedded.engines import Engines
from counterpoint.embedded.supervisor import state_folder
from tests.former import superuser_of
from tests.waiting import wait_until

IDENTITY = binaries.identity()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server's own account may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="counterpoint-wal-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def given_to_the_server(folder: Path) -> Path:
    for each in (folder, *folder.rglob("*")):
        IDENTITY.own(each)
    folder.chmod(0o700)
    return folder


def test_what_was_deleted_by_mistake_is_there_again(place: Path) -> None:
    home, log, base = place / "home", place / "log", place / "base"
    log.mkdir()
    given_to_the_server(log)
    keeping = {"archive_mode": "on", "archive_command": f"test ! -f {log}/%f && cp %p {log}/%f"}
    with Engines(home, only=["postgres"], postgres_options=keeping) as engines:
        url = superuser_of(engines.connection["database_owner_url"], home)
        take = [str(binaries.installed().postgres("pg_basebackup")), "--dbname", url]
        subprocess.run([*take, "--pgdata", str(base), "--checkpoint", "fast"], check=True)
        with psycopg.connect(url, autocommit=True) as people:
            people.execute("CREATE TABLE sheets AS SELECT generate_series(1, 1000) AS number")
            moment = people.execute("SELECT clock_timestamp()::text").fetchone()
            people.execute("DELETE FROM sheets")
            last = people.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        assert moment
        assert last
        assert wait_until(lambda: (log / last[0]).exists())

    data = state_folder(home, IDENTITY) / "postgres"
    shutil.rmtree(data)
    shutil.move(base, data)
    (data / "recovery.signal").touch()
    given_to_the_server(data)
    back = {
        "restore_command": f"cp {log}/%f %p",
        "recovery_target_time": moment[0],
        "recovery_target_action": "promote",
        "hot_standby": "off",  # nobody is let in before it is back
    }
    with Engines(home, only=["postgres"], postgres_options=back) as engines:
        url = superuser_of(engines.connection["database_owner_url"], home)
        with psycopg.connect(url) as people:
            assert people.execute("SELECT count(*) FROM sheets").fetchone() == (1000,)
