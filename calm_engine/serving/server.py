"""The process of `calm serve`: takes the port, loads the model, serves until it is told to end.

Knows the order of these and what to say when one fails; answers nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import uvicorn
from transformers import PreTrainedModel

from calm_engine import traces
from calm_engine.drafting import Drafting
from calm_engine.embedding import Embedder
from calm_engine.errors import InputError
from calm_engine.families import read_tokenizer
from calm_engine.modeling import CalmForCausalLM
from calm_engine.process import threads
from calm_engine.serving.app import Door
from calm_engine.serving.batching import Batcher
from calm_engine.serving.door import BareDoor
from calm_engine.serving.embedding import EmbedderDoor, EmbedderLine
from calm_engine.serving.line import Line, Loaded
from calm_engine.serving.roster import Answers, Part, Roster


@dataclass(frozen=True)
class Serving:
    """What one model server serves, and where: compositions, or an embedding model by itself.

    parts          compositions on one anchor; more may come and go while it serves
    anchor         its folder
    name           of the first composition, or of the embedding model
    embedder       folder of an embedding model, which needs no composition
    port           0: any free one, told by the "listening" event
    secret_file    the bearer's secret, one line; None: only on the loopback address
    rows, queue    answers under way at once; requests that may wait beyond those
    drain_seconds  how long answers under way may still take after SIGTERM
    events         print one JSON line per change of state in place of words
    engine         "torch" or "vllm"
    cache_gb       GiB to fill with keys and values; None: as the engine finds it free
    draft          tokens that the augmenter drafts for an answer that is alone; 0: none
    """

    name: str
    parts: tuple[Part, ...] = ()
    anchor: str = ""
    embedder: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    secret_file: str | None = None
    device: str = "auto"
    threads: int | None = None
    rows: int = 16
    queue: int = 64
    drain_seconds: int = 30
    events: bool = False
    engine: str = "torch"
    cache_gb: float | None = None
    draft: int = 4


def serve(what: Serving) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises InputError "server.port", "server.address", "server.secret", "server.open", and what
    loading the composition raises.
    """
    secret = _secret(what)
    traces.begin("counterpoint-model")
    with _listening(what.host, what.port) as listener:
        asyncio.run(_serve(what, listener, secret))


async def _serve(what: Serving, listener: socket.socket, secret: str | None) -> None:
    loop = asyncio.get_running_loop()
    host, port = listener.getsockname()[:2]
    tell = _Teller(what, f"http://{host}:{port}")

    def on_change() -> None:
        loop.call_soon_threadsafe(changed)

    line, door = _behind(what, on_change, secret)
    server = _Server(
        uvicorn.Config(
            door.app(),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=what.drain_seconds,
        )
    )

    def changed() -> None:
        tell(line.state)
        if line.failure is not None:
            server.should_exit = True

    def end() -> None:
        tell("draining")
        line.drain()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    tell("listening")
    line.start()
    try:
        await server.serve(sockets=[listener])
    finally:
        await asyncio.to_thread(line.stop)
    if line.failure is not None:
        raise line.failure
    tell("stopped")


def _behind(
    what: Serving, on_change: Callable[[], None], secret: str | None
) -> tuple[Line[Any, Any], BareDoor]:
    """The line before the model, and the door before the line."""
    if what.embedder is None:
        answers, roster = _answers(what, on_change)
        return answers, Door(answers, roster, secret=secret)
    folder = what.embedder
    texts = EmbedderLine(
        lambda: _embedder(folder, what), rows=what.rows, queue=what.queue, on_change=on_change
    )
    return texts, EmbedderDoor(texts, name=what.name, secret=secret)


def _answers(what: Serving, on_change: Callable[[], None]) -> tuple[Answers, Roster]:
    """Raises InputError "vllm.missing", and "server.beside" for several on vLLM."""
    how = {"rows": what.rows, "queue": what.queue, "on_change": on_change}
    if what.engine == "torch":
        ahead = Drafting(what.draft) if what.draft else None
        room = None if what.cache_gb is None else int(what.cache_gb * 2**30)
        loader = Loader(what)
        batcher = Batcher(loader.all, drafting=ahead, cache_bytes=room, **how)
        return batcher, Roster(what.parts, batcher, loader.one)
    if find_spec("vllm") is None:
        raise InputError("vllm.missing")
    if len(what.parts) > 1:
        raise InputError("server.beside")
    from calm_engine.vllm.batching import PagedBatcher, Played  # noqa: PLC0415  a second to load

    (part,) = what.parts
    parents = (what.anchor, *part.augmenters)
    told = _fingerprint(part.composition)
    paged = PagedBatcher(Played(part.key, part.composition, parents, told, what.cache_gb), **how)
    return paged, Roster(what.parts, paged)


class Loader:
    """Loads compositions beside one anchor, whose weights they share: it is read once."""

    def __init__(self, what: Serving) -> None:
        self._what = what
        self._one_at_a_time = threading.Lock()
        self._anchor: str | PreTrainedModel = what.anchor

    def all(self) -> dict[str, Loaded]:
        """Those that the server begins with."""
        return {part.key: self.one(part) for part in self._what.parts}

    def one(self, part: Part) -> Loaded:
        with self._one_at_a_time:
            return self._one(part)

    def _one(self, part: Part) -> Loaded:
        # Told to the thread that asks: torch keeps its number for each thread that starts work.
        torch.set_num_threads(threads(self._what.threads))
        model = CalmForCausalLM.from_pretrained(
            part.composition,
            anchor=self._anchor,
            augmenters=part.augmenters,
            device_map=_device(self._what.device),
        )
        self._anchor = model.anchor
        tokenizer = read_tokenizer(part.composition)
        return Loaded(model, tokenizer, fingerprint=_fingerprint(part.composition))


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: ours drain the batch first and exit with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _Teller:
    """Says on standard output how far the server is: words for people, or JSON lines."""

    def __init__(self, what: Serving, address: str) -> None:
        self._what, self._address = what, address
        self._began = time.monotonic()

    def __call__(self, state: str) -> None:
        seconds = round(time.monotonic() - self._began, 2)
        told = {"type": state, "name": self._what.name, "address": self._address}
        words = {
            "listening": f"Loading {self._what.name}; it will answer at {self._address}/v1",
            "ready": f"Ready after {seconds:.1f} s: {self._address}/v1",
            "draining": "Finishing the answers under way, then stopping.",
            "stopped": "Stopped.",
        }
        if self._what.events:
            line = json.dumps({**told, "seconds": seconds})
        elif state in words:
            line = words[state]
        else:
            return
        with contextlib.suppress(BrokenPipeError):  # whoever read it has left; others are answered
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _embedder(folder: str, what: Serving) -> Embedder:
    """On the model thread, whose number of threads is its own."""
    torch.set_num_threads(threads(what.threads))
    return Embedder(folder, device=_device(what.device))


def _device(name: str) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device.missing", device=name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _fingerprint(folder: str) -> str:
    """The digest in the folder's manifest, shortened; empty for a folder without one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
        return f"calm-{str(told['digest'])[:16]}"
    return ""


def _secret(what: Serving) -> str | None:
    if what.secret_file is None:
        if not _is_loopback(what.host):
            raise InputError("server.open", host=what.host)
        return None
    try:
        secret = Path(what.secret_file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InputError("server.secret", path=what.secret_file) from error
    if not secret:
        raise InputError("server.secret", path=what.secret_file)
    return secret


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    """Take the port now: a wrong one is known before a minute of loading, not after."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
    except OSError as error:
        raise InputError("server.address", host=host, port=port) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        code = "server.port" if error.errno == errno.EADDRINUSE else "server.address"
        raise InputError(code, host=host, port=port) from error
    listener.setblocking(False)
    return listener
