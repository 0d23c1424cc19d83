"""One model server: `calm serve` as a child, where it listens, what it may know, how it ends.

It may have several models, on one anchor. Knows no row and no other server; `workers.hosting` keeps
them.
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
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

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

    cache_gb   GiB to fill with keys and values; 0: as the engine finds it free
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


@dataclass(frozen=True)
class Told:
    """What a server says of one of its models.

    state        loading, ready, draining or failed
    under_way    requests that it has, of `places` answers that it writes at once
    idle         seconds since somebody asked it
    """

    state: str
    reason: str = ""
    under_way: int = 0
    places: int = 0
    idle: float = 0.0


class Server:
    """One child: a model, or several compositions on one anchor, whose weights it has once.

    first   the model that it begins with, which is asked at its root; others come and go
    """

    def __init__(self, first: Wanted, log_file: Path, where: Where, engine: Engine) -> None:
        self.first = first
        self.log_file, self.where, self.engine = log_file, where, engine
        self.models: dict[UUID, Wanted] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.started = 0.0
        self.silent = 0
        self.is_up = False  # it has answered
        self._headers: dict[str, str] = {}
        self._keys: dict[UUID, str] = {}  # by which the child knows them

    @property
    def root(self) -> str:
        return f"http://{self.where.netloc}:{self.port}"

    def address_of(self, model: Wanted) -> str:
        key = self._keys[model.row_id]
        return self.root if key == self.first.model else f"{self.root}/at/{key}"

    def start(self, threads: int, secret: Path) -> None:
        """Start the child on a free port, with its first model."""
        self.port = self.where.free_port()
        first = self.first
        folders = [word for role, folder in first.folders for word in (f"--{role}", str(folder))]
        words = ["serve", *folders, "--name", first.model, "--host", self.where.ip]
        words += ["--port", str(self.port), "--secret-file", str(secret), "--threads", str(threads)]
        if first.kind == "composition":
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
        self.models, self._keys = {first.row_id: first}, {first.row_id: first.model}
        self.started = time.monotonic()
        self._headers = {"Authorization": f"Bearer {secret.read_text(encoding='utf-8').strip()}"}

    # -- models that share the anchor --------------------------------------------------------------

    @property
    def is_shared(self) -> bool:
        """Whether models may come and go; vLLM plays what it began with."""
        return self.first.kind == "composition" and self.engine.name == "torch"

    def has_anchor_of(self, model: Wanted) -> bool:
        """Whether a model could come here: the same anchor, and so the same precision.

        Of another tenant none may: one's questions must not turn the other's away.
        """
        return (
            self.is_shared
            and model.kind == "composition"
            and model.tenant_id == self.first.tenant_id
            and model.folders_of("anchor") == self.first.folders_of("anchor")
        )

    def add(self, model: Wanted) -> bool:
        """Have one more model loaded beside the others; whether the server took it on."""
        (folder,) = model.folders_of("composition")
        body = {
            "name": model.model,
            "composition": str(folder),
            "augmenters": [str(one) for one in model.folders_of("augmenter")],
        }
        if self._ask("PUT", f"/compositions/{model.row_id}", body) is None:
            return False
        self.models[model.row_id] = model
        self._keys[model.row_id] = str(model.row_id)
        return True

    def drop(self, model: Wanted) -> None:
        """Let one go when its answers have ended; with the last one the process ends."""
        self.models.pop(model.row_id, None)
        if self.models:
            self._ask("DELETE", f"/compositions/{quote(self._keys.pop(model.row_id), safe='')}")
        else:
            self.stop()

    def needs(self) -> int:
        """Bytes that it will hold, about: its weights, and as much as a fifth for its work."""
        return sum(needs_of(model) for model in self.models.values()) + needs_of_anchor(self.first)

    # -- how it fares ------------------------------------------------------------------------------

    def has_died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def told(self) -> dict[UUID, Told] | None:
        """What it says of its models; None when it does not answer."""
        if self.first.kind != "composition":
            found = self._ask("GET", "/healthz")
            return None if found is None else {self.first.row_id: Told("ready")}
        found = self._ask("GET", "/compositions")
        if found is None:
            return None
        rows = {row.pop("key"): row for row in found.json()["data"]}
        names = [field.name for field in fields(Told)]
        return {
            row_id: Told(**{name: rows[key][name] for name in names})
            for row_id, key in self._keys.items()
            if key in rows
        }

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response | None:
        """What the child answers; None when it does not, or will not."""
        with contextlib.suppress(httpx.HTTPError):
            found = httpx.request(
                method,
                f"{self.root}{path}",
                json=body,
                headers=self._headers,
                timeout=ANSWER_SECONDS,
                trust_env=False,
            )
            return found if found.is_success else None
        return None

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

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]
        return ""


def needs_of(model: Wanted) -> int:
    """Bytes of what a model has for itself, about: beside its anchor, where it has one."""
    return _weight(folder for role, folder in model.folders if role != "anchor")


def needs_of_anchor(model: Wanted) -> int:
    return _weight(model.folders_of("anchor"))


def _weight(folders: Iterable[Path]) -> int:
    return sum(map(size_of, folders)) * 6 // 5


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
