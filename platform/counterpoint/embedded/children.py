"""Child processes that never outlive us. Knows no engine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from calm_engine.errors import InputError

PR_SET_PDEATHSIG = 1
# Loaded now: after a fork only calls that need no lock are safe.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
GENTLE = 10  # of niceness, for work that takes its time: people go before
BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before the next start of an engine that died


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """For `preexec_fn`: the kernel sends this signal when the thread that forked us ends.

    So children are started from a main thread. It runs after a change of user, which would clear
    it. Elsewhere than on Linux an orphan must notice by itself.
    """
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def die_with_parent_fast() -> None:
    """The same with SIGINT: PostgreSQL's fast shutdown, which needs no recovery."""
    die_with_parent(signal.SIGINT)


@dataclass(frozen=True)
class Identity:
    """As whom engines run: ourselves, or the account that root steps down to."""

    uid: int
    gid: int
    steps_down: bool

    def popen(self) -> dict[str, object]:
        """What `subprocess` needs to know; nothing when we are already who we should be."""
        if not self.steps_down:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or folder of ours to this identity."""
        if self.steps_down:
            os.chown(path, self.uid, self.gid)

    def may_pass(self, folder: Path) -> bool:
        """Whether this identity can walk down to the folder: each parent lets it through."""
        if not self.steps_down:
            return True
        return all(self._passes(each) for each in [folder, *folder.parents] if each.exists())

    def _passes(self, folder: Path) -> bool:
        found = folder.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & 0o100)
        if found.st_gid == self.gid:
            return bool(found.st_mode & 0o010)
        return bool(found.st_mode & 0o001)


@dataclass
class Engine:
    """One server: its command, and the child that runs it. Restarted with growing pauses."""

    name: str
    command: list[str]
    identity: Identity
    log: Path
    ready: Callable[[], bool]
    before_start: Callable[[], None]
    on_parent_death: Callable[[], None]
    stop_signal: int
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    not_before: float = 0.0
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    )

    def start(self) -> None:
        self.before_start()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]  # keywords by identity  # noqa: S603
                self.command,
                cwd="/",
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches the supervisor alone, which stops them in order
                preexec_fn=self.on_parent_death,  # safe: the supervisor has one thread
                **self.identity.popen(),
            )

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        """Raises InputError("engines.start") with the end of the log when it does not come up."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            if self.ready():
                return
            time.sleep(0.03)
        raise InputError(
            "engines.start",
            f"{self.name} did not start; its last lines:\n{tail(self.log)}",
            engine=self.name,
        )

    def revive(self) -> bool:
        """Start again what has died, when its pause is over. True when a new child was started."""
        if self.process is None or self.process.poll() is None:
            return False
        now = time.monotonic()
        if self.not_before == 0.0:
            self.not_before = now + BACK_OFF[min(self.deaths, len(BACK_OFF) - 1)]
            self.deaths += 1
        if now < self.not_before:
            return False
        self.not_before = 0.0
        self.start()
        return True

    def stop(self, patience: float = 20.0) -> None:
        """Ask, wait, and in the end kill; the child is always reaped."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log file, as text."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


def held_port(wanted: int | None, *, liked: int | None = None) -> socket.socket:
    """The wanted port, else the one liked from last time, else any free one, on loopback: held.

    Until it is closed the kernel gives the port to nobody who asks for any, and a server that names
    it may listen there (both say SO_REUSEADDR, as all of ours do).
    Raises InputError("port.taken") when the wanted one is in use.
    """
    for port in [wanted] if wanted else [liked, 0] if liked else [0]:
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            holder.bind(("127.0.0.1", port or 0))
            return holder
        holder.close()
    raise port_taken(wanted)


def port_taken(wanted: int | None) -> InputError:
    return InputError(
        "port.taken",
        f"Port {wanted} on 127.0.0.1 is already in use. Stop what listens there, or give another.",
        port=wanted,
    )


@contextlib.contextmanager
def own_port(wanted: int | None, *, liked: int) -> Iterator[int]:
    """A port that no other of our sites on this machine takes while the body runs.

    A site listens only when its engines run and its tables are there: of two that start together
    both would find the liked port free, and people would sign in at the other one. Whose a port is
    stands in the kernel, as an abstract socket's name, and goes with the process.
    Raises InputError("port.taken").
    """
    for port in (liked, None):
        found = free_port(wanted, liked=port)
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as ours:
            try:
                ours.bind(f"\0counterpoint-site-{found}")
            except OSError:
                continue
            yield found
            return
    raise port_taken(wanted)


def free_port(wanted: int | None, *, liked: int | None = None) -> int:
    """The port that `held_port` finds, let go again. Raises InputError("port.taken")."""
    with held_port(wanted, liked=liked) as holder:
        return int(holder.getsockname()[1])
