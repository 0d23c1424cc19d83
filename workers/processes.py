"""The `subprocess` launcher: `accelerate launch -m calm_engine ...` in a session of its own.

Linux kills the child with us (PDEATHSIG); the training process arranges the same for itself, since
the ranks are grandchildren and survive the launcher. Knows no rows and no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import structlog

import calm_engine
from counterpoint.embedded.children import GENTLE, die_with_parent
from workers.devices import has_gpu
from workers.places import Place

log = structlog.get_logger(__name__)

GONE_SECONDS = 10.0  # a killed process dies at once, unless the kernel is busy for it


def cores() -> int:
    """The cores this process may really use, by affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def _in_the_child(niceness: int) -> None:
    """Between fork and exec: die with the worker; leave SIGTERM to the training process.

    Where it computes on the cores, whoever asks a model there goes before: threads that sum up
    together wait for each other, and a neighbour that holds one core holds them all.

    The launcher must ignore SIGTERM, or it would go first and take the rank with it before the
    checkpoint is written; ignoring is inherited, and the engine sets its own handler.
    """
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(niceness)


class Process:
    """One child process group; `kill` leaves no process behind."""

    def __init__(self, verb: str, place: Place, *, epoch: int, threads: int) -> None:
        self._oom_before = oom_kills()
        end_leftover(place)
        with place.words(epoch).open("wb") as words:
            self.process = subprocess.Popen(  # noqa: S603  our own command, no shell input
                command(verb, place, epoch=epoch, threads=threads),
                env=environment(place, threads),
                cwd=place.folder,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(_in_the_child, 0 if has_gpu() else GENTLE),
            )
        remember(place, self.process.pid, epoch)

    def poll(self) -> int | None:
        return self.process.poll()

    def ask(self) -> None:
        """Ask every process of the group to save and stop."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def kill(self) -> None:
        """End the whole group, ranks included, and come back when nothing of it lives."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + GONE_SECONDS
        while left := living(self.process.pid):  # a rank is not our child: nobody waits for it
            if time.monotonic() > deadline:
                log.warning("child.outlives", pids=left)
                return
            time.sleep(0.02)

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed for memory in our control group since the start."""
        return oom_kills() > self._oom_before

    def ended_by(self, words: str) -> str:
        """The signal that ended it from outside, or "" when it ended by itself."""
        code = self.process.returncode
        by_signal = re.findall(r"died with <Signals\.(\w+)", words)
        if by_signal:
            return str(by_signal[-1])
        return signal.Signals(-code).name if code < 0 else ""


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
    facts = _facts(pid)
    return facts[19] if facts else None


def living(group: int) -> list[int]:
    """The processes of a group, without those that have died and wait to be reaped."""
    every = [int(each.name) for each in Path("/proc").glob("[0-9]*")]
    return [pid for pid in every if (facts := _facts(pid)) and int(facts[2]) == group]


def _facts(pid: int) -> list[str]:
    """What the kernel tells of a living process, from its state on (proc(5)); [] of another."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        facts = text.rpartition(")")[2].split()
        return [] if facts[:1] == ["Z"] else facts
    return []


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
