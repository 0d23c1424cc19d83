"""Everything on one machine as children of one process: engines, web, workers, model host.

`python -m counterpoint.services --stay` runs the product; `--then "demo"` runs one management
command beside it. Ctrl-C or SIGTERM stops all of it, in order. A service that dies is started
again. Knows no app.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
import psutil

from calm_engine.errors import EngineError, InputError
from calm_engine.wording import sentence
from counterpoint import env
from counterpoint.embedded.children import die_with_parent, own_port
from counterpoint.embedded.engines import Engines
from counterpoint.env import home_folder
from counterpoint.operate import processes

ROOT = Path(__file__).resolve().parents[2]
LIKED_PORT = 8000
LOOPBACK = "127.0.0.1"
STOP_SECONDS = 20.0  # longer than the web's graceful shutdown, and than a checkpoint of the demo


class Asked(Exception):  # noqa: N818  an ending, not an error
    """Somebody asked the product to stop."""


@dataclass
class Service:
    """One child that should always run; restarted with growing pauses when it dies."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    not_before: float = 0.0

    def start(self, environment: dict[str, str], logs: Path) -> None:
        with (logs / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  our own commands, no shell
                self.command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop them in order
                preexec_fn=die_with_parent,
            )

    def has_died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self, patience: float = STOP_SECONDS) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Memory:
    """The most that all our processes held at once: sampled, resident, shared pages twice."""

    peak: int = 0
    by_name: dict[str, int] = field(default_factory=dict)

    def sample(self) -> None:
        total = 0
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        self.peak = max(self.peak, total)

    def write(self, home: Path) -> None:
        (home / "peak.json").write_text(json.dumps({"peak_rss_mb": self.peak // 2**20}))


def services(port: int, home: Path, *, listen: str = LOOPBACK) -> list[Service]:
    """What runs on one machine, in the order it is started; stopped the other way round."""
    return [
        Service("web", processes.web(listen, port)),
        Service("short", processes.worker(processes.WORKERS["short"], 2)),
        Service("gpu", processes.worker(processes.WORKERS["gpu"], 1)),
        Service("beat", processes.timer(home / "beat")),
        Service("host", processes.host()),
    ]


class Machine:
    """All services of one home folder."""

    def __init__(self, home: Path, port: int, *, listen: str = LOOPBACK) -> None:
        self.home = home
        self.port = port
        self.address = f"http://{LOOPBACK}:{port}"
        self.services = services(port, home, listen=listen)
        self.logs = home / "logs"
        self.memory = Memory()
        self.environment = os.environ | {
            "COUNTERPOINT_HOME": str(home),
            "COUNTERPOINT_URL": env.text("COUNTERPOINT_URL", self.address),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")]),
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *words: str, quiet: bool = False) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  our own manage.py
            [sys.executable, str(ROOT / "manage.py"), *words],
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL if quiet else None,
            preexec_fn=die_with_parent,
        )

    def migrate(self) -> None:
        for words in (
            ["migrate", "--verbosity", "0"],
            ["collectstatic", "--noinput", "--verbosity", "0"],
        ):
            if self.manage(*words, quiet=True).wait() != 0:
                raise InputError(
                    "services.migrate", f"`manage.py {words[0]}` failed; its words stand above."
                )

    def start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.home / "site.json").unlink(missing_ok=True)  # of a start that was killed
        for service in self.services:
            service.start(self.environment, self.logs)

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.watch()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/readyz", timeout=3).status_code == 200:
                    return
            time.sleep(0.3)
        raise InputError(
            "services.not_ready", f"The site did not become ready; see {self.logs}/web.log"
        )

    def tell(self) -> None:
        """Say where the site is: to a person, and in `site.json` to whoever waits for it."""
        text = json.dumps({"address": self.address})
        (self.home / "site.json").write_text(text, encoding="utf-8")
        print(f"Counterpoint runs at {self.address}", flush=True)  # noqa: T201  a command speaks

    def watch(self) -> None:
        """Start what has died, with growing pauses; sample memory."""
        now = time.monotonic()
        self.memory.sample()
        for service in self.services:
            if service.has_died() and now >= service.not_before:
                service.deaths += 1
                service.not_before = now + min(2.0**service.deaths, 30.0)
                service.start(self.environment, self.logs)

    def stop(self) -> None:
        (self.home / "site.json").unlink(missing_ok=True)
        for service in self.services:
            if service.process and service.process.poll() is None:
                service.process.terminate()  # all hear it at once, then each is waited for
        for service in reversed(self.services):
            service.stop()


def run(machine: Machine, words: list[str], *, stay: bool) -> int:
    """Run one management command beside the services; its exit code, or 0 after Ctrl-C."""
    command = machine.manage(*words) if words else None
    try:
        while command is not None and command.poll() is None:
            machine.watch()
            machine.memory.write(machine.home)
            time.sleep(0.5)
        while stay and (command is None or command.returncode == 0):
            machine.watch()
            time.sleep(0.5)
    finally:
        if command is not None and command.poll() is None:
            command.terminate()
            command.wait()
    return command.returncode if command is not None else 0


@contextlib.contextmanager
def asked_to_stop() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Asked`, once: a second one does not interrupt the stopping."""

    def ask(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Asked(signal.Signals(number).name)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, ask)
    yield


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="counterpoint.services", description=__doc__)
    parser.add_argument(
        "--port", type=int, help="port of the site (default: 8000, or any free one)"
    )
    parser.add_argument("--host", default=LOOPBACK, help="where the site listens")
    parser.add_argument(
        "--then", default="", help="a management command to run beside the services"
    )
    parser.add_argument("--stay", action="store_true", help="go on after the command, until Ctrl-C")
    parser.add_argument(
        "--fresh", action="store_true", help="an empty home folder, removed at the end"
    )
    told = parser.parse_args(arguments)
    home = Path(tempfile.mkdtemp(prefix="counterpoint-")) if told.fresh else home_folder()
    try:
        with asked_to_stop():
            return live(home, told)
    except Asked:
        print("\nEverything has stopped.")  # noqa: T201  a command speaks
        return 0
    except EngineError as error:
        print(sentence(error), file=sys.stderr)  # noqa: T201  a command speaks
        return 2 if isinstance(error, InputError) else 1
    finally:
        if told.fresh:
            shutil.rmtree(home, ignore_errors=True)


def live(home: Path, told: argparse.Namespace) -> int:
    """Engines up, migrated, services up, command run; everything down again at the end."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)  # the engines' own user must pass through, nobody may list
    os.environ["COUNTERPOINT_HOME"] = str(home)
    urls = {"DATABASE_URL": "postgres", "REDIS_URL": "valkey"}
    ours = [engine for url, engine in urls.items() if not env.secret(url)]
    with (
        own_port(told.port, liked=LIKED_PORT) as port,
        Engines(home, only=ours) if ours else contextlib.nullcontext(),
    ):
        machine = Machine(home, port, listen=told.host)
        machine.migrate()
        try:
            machine.start()
            machine.wait_until_ready()
            machine.tell()
            return run(machine, shlex.split(told.then), stay=told.stay)
        finally:
            machine.stop()


if __name__ == "__main__":
    sys.exit(main())
