"""Whether a training fits on this machine, asked before its first step. Knows no model and no data.

Memory: what stays for the slopes is counted in two trial passes, over one row and over two; what a
row more costs is their difference, so nothing large is tried. Disk: two checkpoints and the result.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psutil
import torch
from torch import Tensor

from calm_engine.errors import InputError
from calm_engine.optimizers import Named
from calm_engine.process import memory_free
from calm_engine.ranks import Ranks

MOMENTS = 2  # of the optimiser, each as large as the weights
COPY = 1  # of the weights and moments while a checkpoint is written
KEPT = 2  # checkpoints there must be room for: the newest, and the one that takes its place


class Fits(Protocol):
    """What of a training is looked at: see `training.Job`."""

    @property
    def named(self) -> Named: ...
    @property
    def trial(self) -> Callable[[int], Tensor] | None: ...
    @property
    def rows(self) -> int: ...


class Counts(Protocol):
    """What of a spec is looked at."""

    @property
    def gradient_accumulation_steps(self) -> int: ...


def check(job: Fits, spec: Counts, work: Path, ranks: Ranks) -> None:
    """Raises InputError: "disk.checkpoints", "memory.short", each with what is needed and free."""
    weights = sum(p.numel() * p.element_size() for _, p in job.named)
    check_disk(work, weights)
    if job.trial is not None:
        parts = ranks.count * spec.gradient_accumulation_steps
        rows = max(1, -(-job.rows // parts))
        own = weights // (ranks.count if _is_sharded(job.named) else 1)
        needed = memory_needed(job.trial, rows) + own * (1 + MOMENTS) + weights * COPY
        check_memory(needed, ranks.device)


def _is_sharded(named: Named) -> bool:
    return any(hasattr(parameter, "placements") for _, parameter in named)


def check_disk(work: Path, weights: int) -> None:
    """Room for two checkpoints, each weights and moments, and for the result."""
    needed = KEPT * weights * (1 + MOMENTS) + weights
    place = next(folder for folder in (work, *work.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            "disk.checkpoints",
            "two checkpoints do not fit",
            needed=_in_words(needed),
            free=_in_words(free),
        )


def check_memory(needed: int, device: torch.device) -> None:
    """Bytes that are still to be taken against those that may be."""
    free = free_bytes(device)
    if free < needed:
        raise InputError(
            "memory.short",
            "the training does not fit into memory",
            needed=_in_words(needed),
            free=_in_words(free),
        )


def memory_needed(trial: Callable[[int], Tensor], rows: int) -> int:
    """Bytes that are held for the slopes of so many rows, from passes over one and over two."""
    one, two = _held(trial, 1), _held(trial, 2)
    return one + max(0, two - one) * (rows - 1)


def _held(trial: Callable[[int], Tensor], rows: int) -> int:
    """Bytes that a pass keeps for its slopes; weights are not counted, they are there already."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    chance = torch.get_rng_state()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda held: held):
        trial(rows)
    torch.set_rng_state(chance)
    return sum(seen.values())


def free_bytes(device: torch.device) -> int:
    """What this process may still take: of the accelerator, or of the machine and its group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory_free()


def held_bytes() -> int:
    """What this process holds now: on the accelerator where there is one, else of the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.memory_allocated())
    return int(psutil.Process().memory_info().rss)


def _in_words(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
