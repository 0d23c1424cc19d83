"""One model server: `calm serve` as a child, where it listens, what it may know, how it ends.

Knows no row and no other server; `workers.hosting` keeps them.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

import calm_engine
from apps.registry.placements import Wanted
from calm_engine.errors import InputError
from counterpoint.embedded.children import die_with_parent
from workers.places import size_of

ANSWER_SECONDS = 2.0  # a healthy server answers /healthz well within this
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Where:
    """The address and the ports at which model servers listen and are reached.

    ip      this machine's loopback; in a cluster the pod's own, which the web processes can reach
    ports   None: any free one
    """

    ip: str = "127.0.0.1"
    ports: range | None = None

    @property
    def netloc(self) -> str:
        return f"[{self.ip}]" if ":" in self.ip else self.ip

    def free_port(self) -> int:
        """A port that nobody has now; whoever loses the race is started again.

        Raises InputError("port.taken") when the whole range is in use.
        """
        # In any order: servers that start in the same second should not meet at the first one.
        for port in random.sample(self.ports, len(self.ports)) if self.ports else (0,):
            with contextlib.suppress(OSError), socket.socket(self._family()) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.ip, port))
                return int(probe.getsockname()[1])
        raise InputError("port.taken", "Every port of COUNTERPOINT_HOST_PORTS is in use.")

    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.ip else socket.AF_INET


@dataclass(frozen=True)
class Engine:
    """Which engine plays the models: "torch", or "vllm" where that is installed.

    cache_gb   GiB that vLLM may fill with keys and values; 0: what it finds free
    python     interpreter of the environment where it is installed, by default this one
    """

    name: str = "torch"
    cache_gb: int = 0
    python: str = sys.executable

    @property
    def flags(self) -> list[str]:
        """What `calm serve` is told of it."""
        return [
            "--engine",
            self.name,
            *(("--cache-gb", str(self.cache_gb)) if self.cache_gb else ()),
        ]


@dataclass
class Server:
    """One model server: its child process and what is known of it."""

    wanted: Wanted
    log_file: Path
    where: Where = field(default_factory=Where)
    engine: Engine = field(default_factory=Engine)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    is_ready: bool = False
    deaths: int = 0
    not_before: float = 0.0
    started: float = 0.0
    silent: int = 0
    is_resting: bool = False
    reason: str = ""

    @property
    def address(self) -> str:
        return f"http://{self.where.netloc}:{self.port}"

    def start(self, threads: int, secret: Path) -> None:
        """Start the child on a free port."""
        self.port = self.where.free_port()
        wanted = self.wanted
        folders = [word for role, folder in wanted.folders for word in (f"--{role}", str(folder))]
        words = ["serve", *folders, "--name", wanted.model, "--host", self.where.ip]
        words += ["--port", str(self.port), "--secret-file", str(secret), "--threads", str(threads)]
        if wanted.kind == "composition":
            words += self.engine.flags
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603  our own command, no shell
                [self.engine.python, "-m", "calm_engine.cli", *words],
                env=environment(threads),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self.started = time.monotonic()
        self.is_ready = False
        self.silent = 0

    def needs(self) -> int:
        """Bytes that it will hold, about: its weights, and as much as a fifth for its work."""
        return sum(size_of(folder) for _, folder in self.wanted.folders) * 6 // 5

    def has_died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.address}/healthz", timeout=ANSWER_SECONDS).status_code == 200
        return False

    def stop(self) -> None:
        """Ask, wait, then end the whole group."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.is_ready = False

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]
        return ""


def environment(threads: int) -> dict[str, str]:
    """What a model server may know: no secret but the one in its file, no road to the network."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "HOME", "TMPDIR")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    # Where spans are sent: settings of OpenTelemetry's own, which name no secret but by a header.
    found |= {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    return found | {
        "PYTHONPATH": str(Path(calm_engine.__file__).resolve().parent.parent),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
    }
