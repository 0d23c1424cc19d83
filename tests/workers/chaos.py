"""Trouble on purpose, from a seed: real workers and children are killed, stopped and misled.

The harness watches the runs' folders while it goes, and afterwards says whether anything that had
been saved was computed twice. Failed runs are run again, as a person would, when they said
honestly what was wrong. Files arrive meanwhile, and other workers read them (`batches`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import redis
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, connections

from apps.runs import wishes
from apps.runs.models import Run
from apps.runs.states import State
from apps.tenants.scope import tenant_scope
from counterpoint.celery import send
from counterpoint.storage import run_folder_of
from tests.cast import Cast
from tests.workers import chaos_worker
from tests.workers.batches import Batches
from workers.places import Place

AWAY = (OperationalError, InterfaceError)
LEASE, HEARTBEAT = 4, 1
RUNS, FILES = "gpu", "ingest,short"  # what a worker listens to
LEASES = {RUNS: LEASE, FILES: 12}  # seconds: a reader of files beats not, and must be through
BEAT_SECONDS = 2.0  # in place of beat: it calls for the housekeeping of files this often
HONEST = {"disk.full", "run.attempts", "run.same_step"}
PAUSE = 0.1
MANY = 20


def patiently(ask: Callable[[], Any]) -> Any:
    """Ask the database, again while it is away."""
    while True:
        try:
            return ask()
        except AWAY:
            connection.close()
            time.sleep(PAUSE)


@dataclass
class Seen:
    """What the harness has seen of one run: its newest checkpoint, and where attempts began."""

    saved: int = 0
    begun: dict[int, int] = field(default_factory=dict)
    recomputed: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass
class Chaos:
    """Workers of runs and of files, some of both, and the trouble that a seed chooses."""

    cast: Cast
    runs: list[UUID]
    files: Batches
    folder: Path
    listening: list[str] = field(default_factory=lambda: [RUNS, RUNS, FILES, FILES])
    beaten: float = 0.0
    gone: int = 0  # workers that ended without being killed by us
    done: list[str] = field(default_factory=list)
    seen: dict[UUID, Seen] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = self.files.chance
        self.seen = {code: Seen() for code in self.runs}
        with tenant_scope(self.cast.north):
            self.places = {code: Place(Path(run_folder_of(code))) for code in self.runs}

    # -- workers ---------------------------------------------------------------------------------

    def begin(self) -> None:
        self.processes += [self._worker(queues) for queues in self.listening]

    def _worker(self, queues: str) -> subprocess.Popen[bytes]:
        known = os.environ | {"RUN_LEASE_SECONDS": str(LEASE), "OMP_NUM_THREADS": "1"}
        known |= {"RUN_HEARTBEAT_SECONDS": str(HEARTBEAT), "RUN_DISK_RESERVE_MB": "1"}
        known["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        lease = str(LEASES[FILES])
        with (self.folder / "workers.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, chaos_worker.__file__, str(self.folder), queues, lease],
                env=known,
                stdout=log,
                stderr=log,
                preexec_fn=one_core,  # one thread each: the same sums in the same order
            )

    def end(self) -> None:
        for process in self.processes:
            end_tree(process.pid)
            process.wait()

    # -- trouble ---------------------------------------------------------------------------------

    def kill_worker(self) -> None:
        """SIGKILL to a worker's main process; its pool and children must die by themselves."""
        index = self.chance.randrange(len(self.processes))
        self.processes[index].kill()
        self._replace(index)

    def _replace(self, index: int) -> None:
        self.processes[index].wait()
        self.processes[index] = self._worker(self.listening[index])

    def kill_child(self) -> None:
        """SIGKILL to the whole group of a child that trains."""
        if pids := self.children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.chance.choice(pids), signal.SIGKILL)

    def kill_reader(self) -> None:
        """SIGKILL to a child that reads a file."""
        found = [each for worker in self.processes for each in readers(worker.pid)]
        if found:
            with contextlib.suppress(psutil.Error):
                self.chance.choice(found).kill()

    def stop_pool(self) -> None:
        """SIGSTOP to the pool process of a worker past its lease, then SIGCONT: a zombie wakes."""
        index = self.chance.randrange(len(self.processes))
        worker = psutil.Process(self.processes[index].pid)
        with contextlib.suppress(psutil.Error):
            stopped = worker.children()
            for each in stopped:
                each.suspend()
            self._wait(LEASES[self.listening[index]] + 1)
            for each in stopped:
                each.resume()

    def flush_broker(self) -> None:
        redis.Redis.from_url(settings.REDIS_URL).flushall()

    def deliver_twice(self) -> None:
        for _ in range(self.chance.randint(2, 8)):
            patiently(lambda: send("gpu.wake"))
        patiently(self.files.call_twice)

    def restart_database(self) -> None:
        """SIGINT to the server: a fast shutdown; its supervisor starts it again."""
        connection.close()
        # The thread that asynchronous tests before this one used holds one too, for those after it.
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()
        found = next(Path(settings.HOME).rglob("postmaster.pid"))
        os.kill(int(found.read_text().splitlines()[0]), signal.SIGINT)

    def fill_disk(self) -> None:
        """Every write that must last fails for a while."""
        flag = self.folder / "full"
        flag.touch()
        self._wait(2)
        flag.unlink()

    def children(self) -> list[int]:
        """Process groups of the children that live now."""
        found = []
        for place in self.places.values():
            with contextlib.suppress(OSError, ValueError):
                facts = json.loads(place.child.read_text())
                if psutil.pid_exists(facts["pid"]):
                    found.append(int(facts["pid"]))
        return found

    # -- watching --------------------------------------------------------------------------------

    def states(self) -> dict[UUID, tuple[str, str]]:
        def ask() -> dict[UUID, tuple[str, str]]:
            with tenant_scope(self.cast.north):
                rows = Run.objects.filter(pk__in=self.runs)
                return {pk: (s, c) for pk, s, c in rows.values_list("pk", "state", "failure_code")}

        found: dict[UUID, tuple[str, str]] = patiently(ask)
        return found

    def look(self) -> bool:
        """See what is saved and where attempts begin; run honest failures again.

        True when all runs are done. A worker that is gone is started again, as anywhere.
        """
        for index, process in enumerate(self.processes):
            if process.poll() is not None:
                self.gone += 1
                assert self.gone < MANY, "workers do not stay; their log says why"
                self._replace(index)
        self._beat()
        for code, place in self.places.items():
            self._see(self.seen[code], place)
        states = self.states()
        for code, (state, why) in states.items():
            if state == State.FAILED:
                assert why in HONEST, f"{code} failed: {why}"
                patiently(lambda code=code: self._again(code))
        return all(state == State.SUCCEEDED for state, _ in states.values())

    def _beat(self) -> None:
        if time.monotonic() - self.beaten > BEAT_SECONDS:
            self.beaten = time.monotonic()
            with contextlib.suppress(*AWAY):  # then this beat is lost
                send("housekeeping.rows")

    def _again(self, code: UUID) -> None:
        with tenant_scope(self.cast.north):
            wishes.retry(Run.objects.get(pk=code), by=self.cast.ada)

    def _see(self, seen: Seen, place: Place) -> None:
        for file in place.folder.glob("events-*.jsonl"):
            epoch = int(file.stem.partition("-")[2])
            if epoch not in seen.begun and (step := first_step(file)) is not None:
                seen.begun[epoch] = step
                # The first news of an attempt is where it resumes, or one of its first steps.
                if step < seen.saved:
                    seen.recomputed.append((epoch, step, seen.saved))
        with contextlib.suppress(OSError):
            names = [each.name for each in place.work.iterdir() if each.name.startswith("step-")]
            seen.saved = max([seen.saved, *(int(name[5:]) for name in names)])

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            time.sleep(PAUSE)

    def go(self, events: list[str], *, between: tuple[float, float], patience: float) -> None:
        """Make the events happen, each while something works, then wait until all runs are done."""
        deadline = time.monotonic() + patience
        for event in events:
            self.files.deliver()
            while not self.children() and not self.look() and time.monotonic() < deadline:
                time.sleep(PAUSE)
            self._wait(self.chance.uniform(*between))
            if self.look():
                break
            getattr(self, event)()
            self.done.append(event)
        while not (self.look() and patiently(self.files.are_settled)):
            assert time.monotonic() < deadline, f"not done after {self.done}: {self.states()}"
            time.sleep(PAUSE)


def one_core() -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def readers(worker: int) -> list[psutil.Process]:
    """The confined children below a worker, which read files: they run isolated."""
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(worker).children(recursive=True)
        return [each for each in below if "-I" in each.cmdline()[1:2]]
    return []


def first_step(file: Path) -> int | None:
    """The step of an attempt's first news of training, if it has come so far."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            told = json.loads(line)
            if told.get("stage") == "train":
                return int(told["step"])
    return None


def end_tree(pid: int) -> None:
    """End a process of ours and everything below it."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for each in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.Error):
                each.kill()
