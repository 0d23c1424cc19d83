"""What this machine's accelerator, memory and disk say of themselves. Knows no run and no torch."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from calm_engine.process import memory_free

MIB = 2**20
ASKED = "name,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw"


@dataclass(frozen=True)
class Device:
    """An accelerator, or the machine itself where there is none.

    facts   what the page shows, by name: percent busy, bytes in use, degrees, watts; a figure that
            the driver does not tell is left out
    """

    name: str
    memory_bytes: int
    facts: dict[str, Any] = field(default_factory=dict)


def has_gpu() -> bool:
    """Whether an NVIDIA device is here; asked without loading torch into the worker."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/nvidia0").exists()


def slot_name() -> str:
    """What this worker's place is called, the same after a restart: machine and device."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "0") or "0"
    return f"{socket.gethostname()}/{f'gpu{chosen}' if has_gpu() else 'cpu'}"


def look() -> Device:
    """The device as it is now."""
    return (_nvidia() if has_gpu() else None) or _machine()


def _machine() -> Device:
    memory = psutil.virtual_memory()
    facts: dict[str, Any] = {"busy": psutil.cpu_percent(), "memory_used": memory.used}
    with suppress(AttributeError, OSError):  # not every system tells
        groups = psutil.sensors_temperatures().values()
        if heat := [each.current for group in groups for each in group]:
            facts["temperature"] = max(heat)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Device(f"CPU, {cores} cores", memory.total, facts)


def _nvidia() -> Device | None:
    """What the driver's own tool says; None when it says nothing that we understand."""
    chosen = (os.environ.get("CUDA_VISIBLE_DEVICES", "0") or "0").split(",")[0]
    command = ["nvidia-smi", f"--id={chosen}", f"--query-gpu={ASKED}"]
    try:
        told = subprocess.run(  # noqa: S603  our own words, no shell
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout
        return parsed(told)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def parsed(line: str) -> Device:
    """One line of the driver's tool. Raises ValueError when it is something else."""
    name, total, used, busy, heat, power = (part.strip() for part in line.strip().split(","))
    facts: dict[str, Any] = {"memory_used": int(float(used) * MIB)}
    for key, text in (("busy", busy), ("temperature", heat), ("power", power)):
        with suppress(ValueError):  # "[N/A]": this driver does not tell
            facts[key] = float(text)
    return Device(name, int(float(total) * MIB), facts)


def free() -> int:
    """Bytes of the accelerator, or of the machine, that nobody has."""
    found = _nvidia() if has_gpu() else None
    if found is None:
        return memory_free()
    return found.memory_bytes - int(found.facts["memory_used"])


def held_by(pids: Iterable[int]) -> int:
    """Bytes that these processes and their children hold: of the accelerator, or of the machine."""
    family = [each for pid in pids for each in _family(pid)]
    if has_gpu():
        return _held_of_gpu({each.pid for each in family})
    total = 0
    for each in family:
        with suppress(psutil.Error):  # it has just ended
            total += each.memory_info().rss
    return total


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _held_of_gpu(pids: set[int]) -> int:
    """What the driver's own tool says; 0 when it says nothing that we understand."""
    command = ["nvidia-smi", "--query-compute-apps=pid,used_memory"]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        told = subprocess.run(  # noqa: S603  our own words, no shell
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout
        return summed(told, pids)
    return 0


def summed(told: str, pids: set[int]) -> int:
    """Bytes that the driver tells of these processes, from lines of "pid, MiB"."""
    rows = [line.split(",") for line in told.splitlines() if line.strip()]
    return sum(int(float(used) * MIB) for pid, used in rows if int(pid) in pids)


def disk(folder: Path) -> tuple[int, int]:
    """Free and total bytes of the disk that holds a folder."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    usage = shutil.disk_usage(there)
    return usage.free, usage.total
