"""The commands of docs/operate, given as they stand there, page after page, on a site at work.

What needs a cluster, buildah, systemd or Docker is given in `cluster/` and `images/`, or stands in
`test_operate_docs.py` as a command that could be given.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pytest_django import Settings

from apps.forgetting import leaving
from apps.registry import artifacts
from apps.registry.actions import promote
from apps.registry.models import Alias, Composition
from apps.runs.models import Slot
from apps.tenants.scope import tenant_scope
from counterpoint import keys
from counterpoint.env import home_folder
from counterpoint.operate.cli import main
from tests import objects
from tests.cast import Cast
from tests.deploy.test_operate_docs import BLOCK, PAGES
from tests.machines import BACKUP_KEY, Run, empty_machine
from tests.tiny import embedder_folder
from tests.waiting import free_port, wait_until
from tests.workers.making import make_anchor, make_snapshot, publish

PLACES = re.compile(r"(?<![\w.])/(?=(?:safe|media|etc/counterpoint|opt|srv|path/to)/)")
GIVEN = {"counterpoint", "openssl", "calm"}
AWAY = {"site", "streaming"}  # what the doctor misses here: no web process runs beside the test


def given() -> list[str]:
    """The lines of all pages, in their order."""
    blocks = [block for page in PAGES for block in BLOCK.findall(page.read_text())]
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.split(" ")[0] in GIVEN]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Run]:
    with empty_machine(tmp_path / "empty") as run:
        yield run


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with objects.serving() as endpoint:
        objects.empty(endpoint)
        yield endpoint


@pytest.fixture
def home(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder of the test's own, on the engines of all tests."""
    keys.forget()
    settings.HOME = tmp_path / "home"
    settings.HOME.mkdir()
    for name in ("engine-passwords.json", "connection.json"):
        shutil.copy(home_folder() / name, settings.HOME)
    monkeypatch.setenv("COUNTERPOINT_HOME", str(settings.HOME))
    monkeypatch.setenv("BACKUP_KEY", BACKUP_KEY)
    monkeypatch.setenv("CURATOR_PASSWORD", "a long enough passphrase")
    monkeypatch.chdir(tmp_path)
    yield settings.HOME
    keys.forget()


@dataclass
class Walk:
    """A site whose files lie below a root, where the pages' paths begin, and who gives commands."""

    cast: Cast
    root: Path
    machine: Run
    name_a_bucket: Callable[[], None]
    model: Composition = field(init=False)

    def prepare(self) -> None:
        """A live model of North that Ada may carry away, and a slot for its runs."""
        with tenant_scope(self.cast.north):
            anchor = make_anchor(self.cast, self.root / "anchor")
            snapshot = make_snapshot(self.cast)
            self.model = publish(self.cast, snapshot, anchor, self.root, uuid4())
            promote(self.model, Alias.LIVE, by=self.cast.ada)
            shutil.copytree(artifacts.path(anchor), self.root / "opt" / "anchor")
        Slot.objects.create(name="host/gpu0", memory_bytes=10**10, disk_free=10**12)
        for name in ("images", "wheels"):
            (self.root / "safe" / name).mkdir(parents=True)
            (self.root / "safe" / name / "one").write_text(name)
        for name in ("media", "etc/counterpoint", "srv/out"):
            (self.root / name).mkdir(parents=True)
        embedder_folder(self.root / "path" / "to" / "encoder")
        told = "req -x509 -newkey rsa:2048 -nodes -subj /CN=idp -keyout idp.key -out idp.pem"
        subprocess.run(["openssl", *told.split()], check=True, capture_output=True)

    def expect(self, line: str) -> None:
        """What a page says happened before, by somebody else or in the pages of the site."""
        if line.startswith("counterpoint install --from /media/counterpoint.tar"):
            shutil.copy(self.root / "safe/counterpoint/bundle.pub", self.root / "etc/counterpoint")
        elif "to_bucket" in line:
            self.name_a_bucket()
        elif "export_tenant" in line:
            self.agree(leaving.EXPORT)
        elif "--dry-run" in line:
            self.agree(leaving.DELETION)

    def agree(self, kind: str) -> None:
        with tenant_scope(self.cast.north):
            leaving.ask(kind, self.cast.north, by=self.cast.ada, reason="We move.")

    def give(self, line: str) -> int:
        """Its exit status."""
        named = line.replace("handbook@3", f"{self.model.name}@{self.model.version}")
        program, *words = shlex.split(PLACES.sub(f"{self.root}/", named))
        if program == "calm":
            return serves(words)
        if program == "openssl":
            return subprocess.run([program, *words], check=False, capture_output=True).returncode
        if words[0] == "restore":
            return self.machine(*words).returncode
        if words[0] == "doctor":
            return main([*words, "--json"])
        try:
            return main(words)
        except SystemExit as ended:  # of a management command that refused
            return 1 if isinstance(ended.code, str) else int(ended.code or 0)


def serves(words: list[str]) -> int:
    """0 when the server that these words start answers; it is ended then."""
    port = free_port()
    command = [sys.executable, "-m", "calm_engine.cli", *words, "--port", str(port)]
    server = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        wait_until(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/healthz"))
        return server.poll() or 0
    finally:
        server.terminate()
        server.wait(60)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_every_command_of_the_pages_does_what_the_page_says(
    cast: Cast,
    home: Path,
    tmp_path: Path,
    machine: Run,
    bucket: str,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    walk = Walk(cast, tmp_path, machine, lambda: objects.use(settings, bucket, home))
    walk.prepare()
    for line in given():
        walk.expect(line)
        capsys.readouterr()
        status, said = walk.give(line), capsys.readouterr()
        if "doctor" in line:
            faults = {
                one["about"]
                for one in map(json.loads, said.out.splitlines())
                if one["state"] == "fault"
            }
            assert faults <= AWAY, said.out
        else:
            assert status == 0, f"{line}\n{said.out}\n{said.err}"
    assert (tmp_path / "srv/out/north.json").exists()
    assert Composition.objects.count() == 0
