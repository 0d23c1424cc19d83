"""Folders that are whole or absent: checkpoints of a run, and results. Knows no model.

Written aside, synced, digested, renamed: a crash leaves the old state or the new one. Tensors lie
in safetensors and everything else in JSON; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from calm_engine import digests
from calm_engine.errors import EngineError, InputError
from calm_engine.optimizers import Named

STATE, TENSORS = "state.json", "state.safetensors"
_NAME = re.compile(r"step-(\d{8})")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum")


@dataclass(frozen=True)
class Checkpoint:
    """A valid checkpoint: steps taken, facts as JSON, tensors by name."""

    step: int
    facts: dict[str, Any]
    tensors: dict[str, Tensor]


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Write a folder aside; on leaving it gets its manifest and its name, or is removed.

    Raises InputError("disk.full") when there is no room; nothing is then left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        digests.write_manifest(aside)
        _sync(aside)
        shutil.rmtree(folder, ignore_errors=True)  # an unfinished twin of the same step
        aside.rename(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise InputError("disk.full", "no space left for the folder") from error
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def save(
    work: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], *, keep: int
) -> None:
    """Write the checkpoint of a step, then drop all but the newest `keep` and the milestones.

    facts   JSON; with a true "milestone" the checkpoint stays until its folder is removed
    """
    with whole(work / f"step-{step:08}") as aside:
        save_file(tensors, aside / TENSORS)
        (aside / STATE).write_text(json.dumps(facts | {"step": step}), encoding="utf-8")
    for old in _found(work)[keep:]:
        if not _is_milestone(old):
            shutil.rmtree(old, ignore_errors=True)


def _is_milestone(folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return bool(told.get("milestone"))
    return False


def newest(work: Path, *, up_to: int | None = None, **wanted: Any) -> Checkpoint | None:
    """The newest valid checkpoint with the wanted facts; a torn or foreign one is passed over.

    up_to   the most steps that it may have taken
    """
    for folder in _found(work):
        if up_to is not None and int(folder.name.removeprefix("step-")) > up_to:
            continue
        with contextlib.suppress(EngineError, OSError, ValueError):
            digests.verify(folder)
            facts = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if all(facts.get(name) == value for name, value in wanted.items()):
                return Checkpoint(facts["step"], facts, load_file(folder / TENSORS))
    return None


def _found(work: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    folders = work.iterdir() if work.is_dir() else ()
    return sorted((f for f in folders if _NAME.fullmatch(f.name)), reverse=True)


def pack(named: Named, optimizer: Optimizer) -> dict[str, Tensor]:
    """The weights that may move, the optimiser's moments by their names, and torch's chance.

    Of sharded weights every process must ask, since each has a part.
    """
    tensors: dict[str, Tensor] = {"chance": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["chance.cuda"] = torch.cuda.get_rng_state()
    for name, parameter in named:
        tensors[f"weight.{name}"] = whole_tensor(parameter)
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = whole_tensor(value)
    return tensors


def whole_tensor(tensor: Tensor) -> Tensor:
    """A copy of a tensor, put together from all processes' parts where it is sharded."""
    held = tensor.detach()
    if isinstance(held, DTensor):
        held = held.full_tensor()
    return held.contiguous().clone()


def unpack(tensors: dict[str, Tensor], named: Named, optimizer: Optimizer) -> None:
    """Put back what `pack` took, in place. The parameters must be the same ones."""
    torch.set_rng_state(tensors["chance"])
    if "chance.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["chance.cuda"])
    for name, parameter in named:
        parameter.data.copy_(_as_its(parameter, tensors[f"weight.{name}"]))
        every = {moment: tensors.get(f"{moment}.{name}") for moment in _MOMENTS}
        if held := {moment: value for moment, value in every.items() if value is not None}:
            # How many steps were taken is one number, the same for every part.
            optimizer.state[parameter] = {
                moment: value if moment == "step" else _as_its(parameter, value).clone()
                for moment, value in held.items()
            }


def _as_its(parameter: Tensor, whole: Tensor) -> Tensor:
    """A whole tensor as the parameter lies: on its device, cut up where it is sharded."""
    placed = whole.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(placed, parameter.device_mesh, parameter.placements)
    return placed


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
