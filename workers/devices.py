"""What this machine's accelerator, memory and disk say of themselves. Knows no run and no torch."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

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
    with suppress(AttributeError, OSError, IndexError):  # not every system tells
        sensors = psutil.sensors_temperatures()
        facts["temperature"] = max(each.current for group in sensors.values() for each in group)
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


def disk(folder: Path) -> tuple[int, int]:
    """Free and total bytes of the disk that holds a folder."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    usage = shutil.disk_usage(there)
    return usage.free, usage.total
