"""The verbs of the engine. Each is a generator of `Progress` that returns an `Outcome`.

What a worker does with a run and an engineer with a file goes through here. Knows no tenants.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from calm_engine.augment import augment
from calm_engine.compose import compose
from calm_engine.errors import InputError
from calm_engine.evaluation import evaluate
from calm_engine.families import check_finite, load_parent, read_config, read_tokenizer
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import AugmentSpec, ComposeSpec, Estimate, Outcome, Progress

__all__ = ["augment", "compose", "estimate", "evaluate", "load"]

TRIED = 2  # steps of the dry run that are timed, after one that warms up


def load(
    folder: str | Path,
    anchor: str | Path | None = None,
    augmenters: Sequence[str | Path] | None = None,
) -> tuple[CalmForCausalLM | PreTrainedModel, PreTrainedTokenizerBase]:
    """A composition beside its parents, or a plain model, with its tokenizer.

    Raises InputError as `CalmForCausalLM.from_pretrained`, `families.load_parent` and
    `families.check_finite` and `families.read_tokenizer` do.
    """
    if read_config(Path(folder)).get("model_type") == "calm":
        model: PreTrainedModel = CalmForCausalLM.from_pretrained(
            folder, anchor=anchor, augmenters=augmenters
        )
    else:
        model = load_parent(folder)
        check_finite(model)
    return model, read_tokenizer(folder)


def estimate(spec: AugmentSpec | ComposeSpec) -> Estimate:
    """Seconds, memory and disk of a training, from a dry run of three steps on the real device.

    The dry run works in a temporary folder and leaves nothing. Raises InputError as the run would.
    """
    if not isinstance(spec, AugmentSpec | ComposeSpec):
        raise InputError("estimate.kind", "only trainings are estimated")
    folder = Path(tempfile.mkdtemp(prefix="calm-estimate-"))
    try:
        return _tried(spec, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tried(spec: AugmentSpec | ComposeSpec, folder: Path) -> Estimate:
    """Run until three steps are taken, and reckon the rest from the last two."""
    trial = replace(spec, output=str(folder / "out"), work=str(folder / "work"), checkpoint_every=1)
    began = time.monotonic()
    run: Generator[Progress, None, Outcome] = (
        augment(trial) if isinstance(trial, AugmentSpec) else compose(trial)
    )
    times: list[float] = []
    total = disk = 0
    for progress in run:
        if progress.stage == "train":
            times.append(progress.metrics.get("seconds_per_step", 0.0))
            total = progress.total
            disk = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        if len(times) > TRIED:
            break
    else:
        disk = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    run.close()
    memory = psutil.Process().memory_info().rss
    rate = sum(times[1:]) / max(1, len(times) - 1)
    setup = max(0.0, time.monotonic() - began - sum(times))
    return Estimate(
        seconds=setup + rate * total,
        memory_bytes=memory,
        disk_bytes=disk,
        steps=total,
        measured=True,
    )
