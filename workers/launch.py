"""One run's child process: `accelerate launch -m calm_engine ...` in a session of its own.

The worker writes the spec to a file, starts the child, follows its events file and says how it
ended. Knows what a run wishes of its child (`Job.wish`), but no rows, no registry and no torch.
Linux kills the child with us (PDEATHSIG); the training process arranges the same for itself, since
the ranks are grandchildren and survive the launcher.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import structlog

import calm_engine
from apps.runs.execution import Drained, Fenced, Lost, Wish
from calm_engine.errors import Cancelled, EngineError, InputError, InternalError
from calm_engine.specs import Outcome, Progress, Spec
from counterpoint.embedded.children import die_with_parent

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
STOP_SECONDS = 30.0  # a stopped run may take this long to reach its next step
DRAIN_SECONDS = 300.0  # a drained one writes a checkpoint first
LOG_TAIL = 4000  # characters of the child's own words kept for the failure text


@dataclass(frozen=True)
class Place:
    """Where one run works on this machine: its folder, and the files inside."""

    folder: Path

    @property
    def spec(self) -> Path:
        return self.folder / "spec.json"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def child(self) -> Path:
        """Process id and start time of the child that lives, or lived, here."""
        return self.folder / "child.json"

    def events(self, epoch: int) -> Path:
        return self.folder / f"events-{epoch}.jsonl"

    def words(self, epoch: int) -> Path:
        """What the child of this attempt says on its standard output and error."""
        return self.folder / f"child-{epoch}.log"


def located(spec: Mapping[str, Any], places: Mapping[str, Path | str | None]) -> dict[str, Any]:
    """A run's spec with every reference ("@anchor") replaced by the folder that it means here."""

    def put(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [put(item) for item in value]
        if isinstance(value, str) and value.startswith("@"):
            place = places[value]
            return None if place is None else str(place)
        return value

    return {name: put(value) for name, value in spec.items()}


def cores() -> int:
    """The cores this process may really use, by affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether an NVIDIA device is here; asked without loading torch into the worker."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/nvidia0").exists()


def command(verb: str, place: Place, *, epoch: int, threads: int) -> list[str]:
    """The child's command line, every choice of accelerate spelled out.

    The shell only puts the launcher's own pid at the end: after `exec` that is the parent which
    the training process must find above itself.
    """
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    choices = ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no"]
    choices += ["--dynamo_backend", "no", "--num_cpu_threads_per_process", str(threads)]
    device = [] if has_gpu() else ["--cpu"]
    engine = ["--module", "calm_engine", verb, "--spec", str(place.spec)]
    engine += ["--events", str(place.events(epoch)), "--epoch", str(epoch)]
    shell = ["/bin/sh", "-c", 'exec "$@" --parent-pid "$$"', "launch"]
    return [*shell, *launcher, *choices, *device, *engine]


def environment(place: Place, threads: int) -> dict[str, str]:
    """What the child may know: no secret of ours, caches of its own, and no road to the network."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV")
    root = Path(calm_engine.__file__).resolve().parent.parent
    scratch = place.folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "PYTHONPATH": str(root),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "HF_HOME": str(scratch / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }


def _in_the_child() -> None:
    """Between fork and exec: die with the worker; leave SIGTERM to the training process.

    The launcher must ignore SIGTERM, or it would go first and take the rank with it before the
    checkpoint is written; ignoring is inherited, and the engine sets its own handler.
    """
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Child:
    """One child process group; leaving the context leaves no process behind."""

    def __init__(self, verb: str, spec: Spec, place: Place, *, epoch: int, threads: int) -> None:
        self.place = place
        self.events = place.events(epoch)
        self.log = place.words(epoch)
        self._end: dict[str, Any] | None = None
        self._oom_before = oom_kills()
        place.folder.mkdir(parents=True, exist_ok=True)
        end_leftover(place)
        place.spec.write_text(spec.to_json(), encoding="utf-8")
        self.events.touch()
        with self.log.open("wb") as words:
            self.process = subprocess.Popen(  # noqa: S603  our own command, no shell input
                command(verb, place, epoch=epoch, threads=threads),
                env=environment(place, threads),
                cwd=place.folder,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_in_the_child,
            )
        remember(place, self.process.pid, epoch)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End the whole group, ranks included, and reap it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def news(self, wish: Callable[[], Wish]) -> Generator[Progress, None, Outcome]:
        """Follow the child to its end. What it returns or raises is how the run ended.

        wish   asked a few times a second. Raises Fenced, Cancelled or Drained after acting on it,
               Lost when somebody else killed the child, and the child's own EngineError.
        """
        with self.events.open(encoding="utf-8") as file:
            while True:
                asked = wish()
                if asked is not Wish.NOTHING:
                    yield from self._obey(asked, file)
                has_ended = self.process.poll() is not None  # before reading: nothing is missed
                yield from self._read(file)
                if has_ended:
                    return self._outcome()
                time.sleep(POLL_SECONDS)

    def _read(self, file: IO[str]) -> Iterator[Progress]:
        """The progress in every whole line that is new; a line still being written waits."""
        while True:
            start = file.tell()
            line = file.readline()
            if not line.endswith("\n"):
                file.seek(start)
                return
            event = json.loads(line)
            if event.pop("type", "") == "progress":
                yield Progress.from_dict(event)
            else:
                self._end = json.loads(line)

    def _obey(self, asked: Wish, file: IO[str]) -> Iterator[Progress]:
        """Stop the child as wished, and say so by raising; a result that came first counts."""
        if asked is Wish.FENCED:
            self.kill()
            raise Fenced
        patience = DRAIN_SECONDS if asked is Wish.DRAIN else STOP_SECONDS
        deadline = time.monotonic() + patience
        while self.process.poll() is None and time.monotonic() < deadline:
            # Sent again and again: until the engine has set its handler the signal is ignored.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGTERM)
            yield from self._read(file)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
        self.kill()
        yield from self._read(file)
        if self._end is not None and self._end.get("type") == "outcome":
            return
        if asked is Wish.DRAIN:
            raise Drained
        raise Cancelled

    def _outcome(self) -> Outcome:
        if self._end is None:
            raise self._silent_death()
        end = dict(self._end)
        if end.pop("type") == "outcome":
            return Outcome.from_dict(end)
        raise told_error(end)

    def _silent_death(self) -> Exception:
        """Why a child ended without a word: memory, a full disk, a signal, or a crash."""
        words = self.words()
        code = self.process.returncode
        if oom_kills() > self._oom_before:
            return InternalError(
                "memory.full",
                "The machine ran out of memory and ended the run. Choose a smaller batch size "
                "or close other work, then run it again: it goes on from its last checkpoint.",
            )
        known = recognised(words)
        if known is not None:
            return known
        by_signal = re.findall(r"died with <Signals\.(\w+)", words)
        if code < 0 or by_signal:
            name = by_signal[-1] if by_signal else signal.Signals(-code).name
            return Lost(f"The training process was ended from outside ({name})")
        return InternalError(
            "run.crashed",
            f"The training process ended with code {code} and without a word of its own. "
            f"Its last lines:\n{words[-1500:]}",
            exit_code=code,
        )

    def words(self) -> str:
        """The last lines that the child wrote to its own log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]
        return ""


def told_error(event: Mapping[str, Any]) -> EngineError:
    """The error that the child reported, with its own code, words and facts."""
    kind = InputError if event.get("fault") == "input" else InternalError
    facts = {str(k): v for k, v in dict(event.get("facts") or {}).items()}
    facts.pop("code", None)
    facts.pop("message", None)
    return kind(str(event["code"]), str(event.get("message", "")), **facts)


def recognised(words: str) -> EngineError | None:
    """An error that a traceback names although the engine could not report it itself."""
    if "No space left on device" in words:
        return InputError(
            "disk.full",
            "The disk is full. Free some space, then run it again: "
            "it goes on from its last checkpoint.",
        )
    if re.search(
        r"out of memory|MemoryError|DefaultCPUAllocator: can't allocate", words, re.IGNORECASE
    ):
        return InternalError(
            "memory.full",
            "There was not enough memory. Choose a smaller batch size, then run it again: "
            "it goes on from its last checkpoint.",
        )
    return None


def oom_kills() -> int:
    """How often the kernel has killed for memory in our control group; 0 where it does not say."""
    for name in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            text = Path(name).read_text(encoding="ascii")
            found = re.search(r"^oom_kill (\d+)", text, re.MULTILINE)
            if found:
                return int(found.group(1))
    return 0


def start_time(pid: int) -> str | None:
    """When a process began, in the kernel's ticks: with the pid it names one process for ever."""
    with contextlib.suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    return None


def remember(place: Place, pid: int, epoch: int) -> None:
    """Write down whose child lives here, so that the next attempt can look."""
    facts = {"pid": pid, "started": start_time(pid), "epoch": epoch}
    place.child.write_text(json.dumps(facts), encoding="utf-8")


def end_leftover(place: Place) -> None:
    """Kill what an older attempt on this machine may have left running in this run's folder."""
    try:
        facts = json.loads(place.child.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    pid = int(facts["pid"])
    if facts["started"] is not None and start_time(pid) == facts["started"]:
        log.warning("child.leftover", pid=pid, epoch=facts["epoch"])
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    place.child.unlink(missing_ok=True)


def clear(place: Place) -> None:
    """Remove what a finished run no longer needs: checkpoints, scratch, copies of the data."""
    shutil.rmtree(place.folder, ignore_errors=True)
