"""What every training shares: resume, steps, checkpoints, news, results. Knows no model's shape."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calm_engine import checkpoints, digests
from calm_engine.errors import Cancelled, EngineError, InputError
from calm_engine.loop import Named, Schedule, Taken, optimizer_of, steps
from calm_engine.process import stop_requested, threads
from calm_engine.specs import Outcome, Progress, TrainSpec

OUTCOME = "outcome.json"
NEWS_EVERY = 5  # steps between lines of progress
SMOOTHING = 0.9  # of the loss that is told
# What does not change the result may differ between a run and its resumption.
_NOT_THE_WORK = ("output", "work", "threads", "checkpoint_every", "keep_checkpoints")


@dataclass(frozen=True)
class Probe:
    """A look at the model in training: figures, and a few fixed questions with today's answers."""

    metrics: dict[str, float] = field(default_factory=dict)
    samples: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Job:
    """One training: what may move, the loss of a step, and how to look at the result so far.

    loss_at    loss of a step, a function of the step's number alone
    probe      called at every checkpoint and at the end
    """

    named: Named
    loss_at: Callable[[int], Tensor]
    schedule: Schedule
    probe: Callable[[], Probe] = Probe


def prepare(spec: TrainSpec) -> torch.device:
    """Set threads and seed; the device to train on. Raises InputError("device.missing")."""
    torch.set_num_threads(threads(spec.threads))
    torch.manual_seed(spec.seed)
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device.missing", "no such device here", device=spec.device)
    wanted = "cuda" if spec.device != "cpu" and torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def train(job: Job, spec: TrainSpec) -> Iterator[Progress]:
    """Take all steps, resuming where a checkpoint of the same spec stands; tell how it goes.

    Asked to stop, it writes a checkpoint and raises `Cancelled`. Raises what `steps` raises.
    """
    work, key = work_folder(spec), spec_digest(spec)
    optimizer = optimizer_of(job.named)
    start = 0
    if found := checkpoints.newest(work, spec=key):
        checkpoints.unpack(found.tensors, job.named, optimizer)
        start = found.step
        yield Progress("train", start, job.schedule.steps, f"resumed at step {start}")
    clock = _Clock(start, job.schedule.steps)
    for taken in steps(job.named, optimizer, job.loss_at, job.schedule, start=start):
        clock.note(taken)
        is_last = taken.step == job.schedule.steps
        if is_last or taken.step % spec.checkpoint_every == 0 or stop_requested():
            tensors = checkpoints.pack(job.named, optimizer)
            checkpoints.save(work, taken.step, tensors, {"spec": key}, keep=spec.keep_checkpoints)
            if stop_requested() and not is_last:
                raise Cancelled(step=taken.step)
            yield clock.news(taken, job.probe())
        elif taken.step % NEWS_EVERY == 0:
            yield clock.news(taken, Probe())


class _Clock:
    """The smoothed loss and the time left."""

    def __init__(self, start: int, total: int) -> None:
        self.start, self.total = start, total
        self.began = time.monotonic()
        self.loss: float | None = None

    def note(self, taken: Taken) -> None:
        before = taken.loss if self.loss is None else self.loss
        self.loss = SMOOTHING * before + (1 - SMOOTHING) * taken.loss

    def news(self, taken: Taken, probe: Probe) -> Progress:
        done = taken.step - self.start
        rate = (time.monotonic() - self.began) / done
        metrics = {"loss": self.loss or 0.0, "seconds_per_step": taken.seconds} | probe.metrics
        return Progress(
            "train",
            taken.step,
            self.total,
            metrics=metrics,
            samples=probe.samples,
            # The first steps warm caches up: no time is promised before there is a rate.
            eta_seconds=rate * (self.total - taken.step) if done >= NEWS_EVERY else None,
        )


def work_folder(spec: TrainSpec) -> Path:
    """Where checkpoints lie: as told, or beside the output."""
    output = Path(spec.output)
    return Path(spec.work) if spec.work else output.with_name(f"{output.name}.work")


def spec_digest(spec: TrainSpec) -> str:
    """SHA-256 of what decides the result: a checkpoint of another spec is not this one's."""
    told = {name: value for name, value in spec.to_dict().items() if name not in _NOT_THE_WORK}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def finished(spec: TrainSpec) -> Outcome | None:
    """The outcome of this very spec when its output is there and whole: nothing is done again.

    Raises InputError("output.exists") when something else stands there.
    """
    output = Path(spec.output)
    if not output.exists():
        return None
    try:
        digests.verify(output)
        told = json.loads((output / OUTCOME).read_text(encoding="utf-8"))
        if told.pop("spec") == spec_digest(spec):
            digest = digests.folder_digest(output)
            return Outcome.from_dict(told | {"folder": str(output), "digest": digest})
    except (EngineError, OSError, ValueError, KeyError):
        pass
    raise InputError("output.exists", "something else is in the output folder", path=output.name)


def publish(
    spec: TrainSpec,
    kind: str,
    write: Callable[[Path], object],
    *,
    parents: Mapping[str, str],
    metrics: Mapping[str, float],
    facts: Mapping[str, Any],
) -> Outcome:
    """Write the result folder whole, its outcome inside, and say what it is."""
    told = {
        "kind": kind,
        "parents": dict(parents),
        "metrics": dict(metrics),
        "facts": dict(facts),
    }
    output = Path(spec.output)
    with checkpoints.whole(output) as aside:
        write(aside)
        text = json.dumps(told | {"spec": spec_digest(spec)}, indent=2, sort_keys=True)
        (aside / OUTCOME).write_text(text, encoding="utf-8")
    digest = digests.folder_digest(output)
    return Outcome.from_dict(told | {"folder": str(output), "digest": digest})
