"""What a training will need, from a dry run on the real device. Knows no tenant and leaves nothing.

Every sort of step is taken, since sorts differ in their cost, and so are a checkpoint, a look at
the model and the writing of the result; their counts are known beforehand.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from calm_engine import augment, checkpoints, compose
from calm_engine.errors import InputError
from calm_engine.loop import steps
from calm_engine.ranks import Ranks
from calm_engine.specs import AugmentSpec, ComposeSpec, Estimate, TrialSpec
from calm_engine.training import Job, Prepared, prepare

TRIED = 2  # steps of each sort, each taken once to warm up and once for the clock
RESULT = "result"
FILLED = 3  # pieces of what is done once before the steps


def estimate(spec: AugmentSpec | ComposeSpec) -> Estimate:
    """Seconds, memory and disk of a training, measured on the real device before it starts.

    The dry run works in a temporary folder. Its memory is the process's largest so far: give it a
    process of its own. A `TrialSpec` is tried with the bridges that follow. Raises InputError as
    the run would.
    """
    if not isinstance(spec, AugmentSpec | ComposeSpec):
        raise InputError("estimate.kind", "only trainings are estimated")
    folder = Path(tempfile.mkdtemp(prefix="calm-estimate-"))
    try:
        told = _tried(spec, folder / "first")
        if not isinstance(spec, TrialSpec) or spec.compose is None:
            return told
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        newborn = str(folder / "first" / RESULT)
        after = replace(
            spec.compose,
            augmenters=(newborn,),
            least_recall=0.0,
            sieve=False,
            device=spec.device,
            threads=spec.threads,
            keep_checkpoints=spec.keep_checkpoints,
        )
        return replace(told, bridges=_tried(after, folder / "bridges"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tried(spec: AugmentSpec | ComposeSpec, folder: Path) -> Estimate:
    """What one training needs; what it wrote as its result is left in the folder."""
    trial = replace(spec, output=str(folder / "out"), work=str(folder / "work"))
    began = time.monotonic()
    ranks = prepare(trial)
    made = _prepared(trial, ranks)
    return _Trial(trial, made, folder, time.monotonic() - began).reckoned()


def _prepared(spec: AugmentSpec | ComposeSpec, ranks: Ranks) -> Prepared:
    if isinstance(spec, AugmentSpec):
        run = augment.prepared(spec, ranks)
    else:
        run = compose.prepared(spec, ranks)
    while True:
        try:
            next(run)
        except StopIteration as end:
            made: Prepared = end.value
            return made


@dataclass(frozen=True)
class _Trial:
    """One dry run: what was prepared, in which folder, and in how many seconds."""

    spec: AugmentSpec | ComposeSpec
    made: Prepared
    folder: Path
    setup: float

    def reckoned(self) -> Estimate:
        job, spec = self.made.job, self.spec
        total = job.schedule.steps
        before = self._before(job)
        training = sum(
            count * self._seconds_of(job, kind)
            for kind, count in Counter(map(job.kind_at, range(total))).items()
        )
        looks = -(-total // spec.checkpoint_every)
        look = _timed(lambda: job.probe(0))
        kept = self.folder / "kept"
        saving = _timed(lambda: self._checkpoint(job, kept))
        result = self.folder / RESULT
        result.mkdir(parents=True)
        writing = _timed(lambda: self.made.write(result))
        checkpoints_held = min(looks, spec.keep_checkpoints)
        results = 2 if job.known_by else 1  # the best weights are kept aside
        return Estimate(
            seconds=self.setup + before + training + looks * (look + saving) + writing,
            memory_bytes=_most_memory(),
            device_memory_bytes=_most_device_memory(),
            disk_bytes=job.first_bytes + checkpoints_held * _size(kept) + results * _size(result),
            steps=total,
            why=str(self.made.facts.get("size", "")),
        )

    def _before(self, job: Job) -> float:
        """Seconds of what is done once before the steps, from its first pieces."""
        began = time.monotonic()
        for done, total in job.first():
            if done in (FILLED, total):
                return (time.monotonic() - began) / done * total
        return 0.0

    def _seconds_of(self, job: Job, kind: str) -> float:
        """Seconds of a step of this sort."""
        every = (step for step in range(job.schedule.steps) if job.kind_at(step) == kind)
        chosen = [step for step, _ in zip(every, range(TRIED), strict=False)]
        return sum(self._seconds_at(job, step) for step in chosen) / len(chosen)

    def _seconds_at(self, job: Job, step: int) -> float:
        """The step is taken twice: what is kept for later is made the first time."""
        optimizer = job.optimizer()
        taken = [
            next(steps(job.named, optimizer, job.losses_at, job.schedule, start=step))
            for _ in range(2)
        ]
        return taken[-1].seconds

    def _checkpoint(self, job: Job, work: Path) -> None:
        optimizer = job.optimizer()
        for _, parameter in job.named:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        checkpoints.save(work, 1, checkpoints.pack(job.named, optimizer), {}, keep=1)


def _timed(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _most_memory() -> int:
    """The most bytes this process held at once so far."""
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return told if sys.platform == "darwin" else told * 1024


def _most_device_memory() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
