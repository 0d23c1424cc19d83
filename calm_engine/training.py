"""What every training shares: resume, steps, checkpoints, news, results. Knows no model's shape."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from calm_engine import checkpoints, digests, fitting
from calm_engine.errors import Cancelled, EngineError, InputError
from calm_engine.loop import LossesAt, Schedule, Taken, steps
from calm_engine.optimizers import Named, optimizer_of
from calm_engine.process import stop_requested, threads
from calm_engine.ranks import Ranks
from calm_engine.rising import best_of, wound_up
from calm_engine.specs import Outcome, Progress, TrainSpec

OUTCOME = "outcome.json"
BEST = "best"  # of the work folder: the weights that knew most so far
NEWS_EVERY = 5  # steps between lines of progress
SMOOTHING = 0.9  # of the loss that is told


@dataclass(frozen=True)
class Probe:
    """A look at the model in training: figures, and a few fixed questions with today's answers."""

    metrics: dict[str, float] = field(default_factory=dict)
    samples: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Branch:
    """The checkpoints of another training, the newest of which with at most `up_to` steps counts.

    key   digest of its spec
    """

    work: Path
    key: str
    up_to: int


@dataclass(frozen=True)
class Job:
    """One training: what may move, the loss of a step, and how to look at the result so far.

    losses_at  the parts of a step's loss, a function of the step's number alone: see `loop.steps`
    probe      called with the step at every checkpoint and at the end
    known_by   the metric of a probe by which it is seen how much is known by now; "" for none
    patience   looks at it without a rise after which the run winds up; 0: it takes all steps
    kind_at    what sort of step it is, a function of its number too: sorts differ in their cost
    first      what is done once before the steps, a piece at each demand: (pieces done, in all)
    first_bytes   that it leaves on disk until the end
    tokens_at  how many tokens a step reads, over all processes; None: not told
    cursor_at  where in the data a step stands, for whoever reads a checkpoint
    is_milestone  whether the checkpoint after so many steps is made and kept for good
    branch     another training to go on from, where this one has no checkpoint yet
    trial      the loss of the first step over so many rows: what a row holds in memory
    rows       that one process reads at once
    is_sharded every process has its part of what is trained
    matrices   names of those that Muon moves; AdamW moves the others
    shares     of the rate, by name, for those that move more slowly
    """

    named: Named
    losses_at: LossesAt
    schedule: Schedule
    probe: Callable[[int], Probe] = lambda _step: Probe()
    kind_at: Callable[[int], str] = lambda _step: "step"
    first: Callable[[], Iterator[tuple[int, int]]] = lambda: iter(())
    first_bytes: int = 0
    tokens_at: Callable[[int], int] | None = None
    cursor_at: Callable[[int], dict[str, int]] = lambda _step: {}
    is_milestone: Callable[[int], bool] = lambda _step: False
    branch: Branch | None = None
    trial: Callable[[int], Tensor] | None = None
    rows: int = 1
    is_sharded: bool = False
    known_by: str = ""
    patience: int = 0
    matrices: Collection[str] = ()
    shares: Mapping[str, float] = field(default_factory=dict)

    def optimizer(self) -> Optimizer:
        """A new one of what may move, no step taken."""
        return optimizer_of(self.named, matrices=self.matrices, shares=self.shares)


@dataclass(frozen=True)
class Written:
    """What is measured of a result when it is written."""

    metrics: Mapping[str, float]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A training ready to begin, and what is to be told and written when it is done.

    write    put the result's files into a folder; may tell what is known of them only then
    parents  digests by role
    facts    of the result, by name
    closing  called once by every process, with the steps that were taken; figures of the result
    """

    job: Job
    write: Callable[[Path], Written | None]
    parents: Mapping[str, str]
    facts: Mapping[str, Any]
    closing: Callable[[int], dict[str, float]] = lambda _steps: {}


def prepare(spec: TrainSpec) -> Ranks:
    """Set threads and seed; where to train. Raises InputError("device.missing")."""
    torch.set_num_threads(threads(spec.threads))
    torch.manual_seed(spec.seed)
    return Ranks.here(spec.device)


def arithmetic(spec: TrainSpec, ranks: Ranks) -> torch.autocast:
    """The arithmetic of a step: bfloat16 where the spec says so; what is trained stays float32."""
    is_short = spec.precision == "bfloat16"
    return torch.autocast(ranks.device.type, dtype=torch.bfloat16, enabled=is_short)


def stored_as(spec: TrainSpec) -> torch.dtype | None:
    """What frozen models are loaded in; None: as they are stored."""
    return None if spec.precision == "auto" else getattr(torch, spec.precision)


def carry_out(
    spec: TrainSpec, kind: str, made: Prepared, ranks: Ranks
) -> Generator[Progress, None, Outcome]:
    """Train what was prepared, and publish the result."""
    metrics: dict[str, float] = {}
    taken = 0
    for progress in train(made.job, spec, ranks):
        metrics |= progress.metrics
        taken = max(taken, progress.step) if progress.stage == "train" else taken
        yield progress
    metrics |= made.closing(taken)
    yield Progress("save")
    if ranks.is_first:
        publish(spec, kind, made, metrics)
    ranks.wait()
    outcome = finished(spec)
    assert outcome is not None
    return outcome


def train(job: Job, spec: TrainSpec, ranks: Ranks) -> Iterator[Progress]:
    """Take all steps, resuming where a checkpoint of the same spec stands; tell how it goes.

    Asked to stop, it writes a checkpoint and raises `Cancelled`. Raises what `steps` raises.
    """
    work, key = work_folder(spec), spec.digest_of_work()
    for done, total in job.first():
        yield Progress("data", done, total, "reading the examples once")
        if ranks.any(stop_requested()):
            raise Cancelled(step=0)
    optimizer = job.optimizer()
    start, looks = 0, Looked(job, work / BEST, key)
    if found := _begun(job, work, key):
        checkpoints.unpack(found.tensors, job.named, optimizer)
        start, looks.taken = found.step, found.facts.get("looks", [])
        yield Progress("train", start, looks.schedule.steps, f"resumed at step {start}")
    fitting.check(job, spec, work, ranks)
    clock = _Clock(start, job)
    for taken in _steps(job, optimizer, looks, ranks, start):
        clock.note(taken)
        is_look = taken.step % spec.checkpoint_every == 0 or taken.step == looks.schedule.steps
        is_asked = ranks.any(stop_requested())
        told = job.probe(taken.step) if is_look else Probe()
        looks.note(taken.step, told, ranks)
        if is_look or is_asked or job.is_milestone(taken.step):
            _keep(job, optimizer, spec, taken.step, looks, ranks)
        is_last = taken.step >= looks.schedule.steps
        if is_asked and not is_last:
            raise Cancelled(step=taken.step)
        if is_look or taken.step % NEWS_EVERY == 0:
            yield clock.news(taken, told, looks.schedule.steps)
    if (step := looks.take_back_best()) is not None:
        message = f"kept what was known best, at step {step}"
        yield Progress("train", step, step, message, metrics=looks.best_metrics())


def _steps(
    job: Job, optimizer: Optimizer, looks: Looked, ranks: Ranks, start: int
) -> Iterator[Taken]:
    """Steps by the schedule that is left, which looks in between may have shortened."""
    while start < (schedule := looks.schedule).steps:
        for taken in steps(job.named, optimizer, job.losses_at, schedule, ranks=ranks, start=start):
            yield taken
            start = taken.step
            if looks.schedule != schedule:
                break


class Looked:
    """The looks so far, what is left of the schedule by them, and the best weights, kept aside."""

    def __init__(self, job: Job, aside: Path, key: str) -> None:
        self.job, self.aside, self.key = job, aside, key
        self.taken: list[list[float]] = []  # (step, how much is known)

    @property
    def schedule(self) -> Schedule:
        return wound_up(self.job.schedule, self.taken, self.job.patience)

    def note(self, step: int, told: Probe, ranks: Ranks) -> None:
        """Take a look down; the weights of the best one so far are kept."""
        known = told.metrics.get(self.job.known_by)
        if known is None:
            return
        self.taken = [one for one in self.taken if one[0] < step] + [[float(step), known]]
        if best_of(self.taken) == step and (ranks.is_first or self.job.is_sharded):
            weights = checkpoints.pack(self.job.named, self.job.optimizer())
            if ranks.is_first:
                checkpoints.save(self.aside, step, weights, {"spec": self.key}, keep=1)

    def take_back_best(self) -> int | None:
        """Put the best weights back, where later ones know less; the step that they are of."""
        best = best_of(self.taken)
        if best is None or best == self.taken[-1][0]:
            return None
        found = checkpoints.newest(self.aside, spec=self.key, step=best)
        if found is None:
            return None
        checkpoints.unpack(found.tensors, self.job.named, self.job.optimizer())
        return best

    def best_metrics(self) -> dict[str, float]:
        return {self.job.known_by: max(known for _, known in self.taken)}


def _begun(job: Job, work: Path, key: str) -> checkpoints.Checkpoint | None:
    """Where to go on: our own newest checkpoint, else one of the training we branch from."""
    found = checkpoints.newest(work, spec=key)
    if found is None and (branch := job.branch):
        found = checkpoints.newest(branch.work, up_to=branch.up_to, spec=branch.key)
    return found


def _keep(
    job: Job, optimizer: Optimizer, spec: TrainSpec, step: int, looks: Looked, ranks: Ranks
) -> None:
    """Write the checkpoint of a step: tensors, and as JSON what else a reader may want."""
    if ranks.is_first or job.is_sharded:
        held = checkpoints.pack(job.named, optimizer)
        if ranks.is_first:
            facts = {
                "spec": spec.digest_of_work(),
                "cursor": job.cursor_at(step),
                "schedule": dataclasses.asdict(looks.schedule),
                "looks": looks.taken,
                "milestone": job.is_milestone(step),
            }
            checkpoints.save(work_folder(spec), step, held, facts, keep=spec.keep_checkpoints)
    ranks.wait()


class _Clock:
    """The smoothed loss, the pace and the time left."""

    def __init__(self, start: int, job: Job) -> None:
        self.start, self.tokens_at = start, job.tokens_at
        self.began = time.monotonic()
        self.loss: float | None = None

    def note(self, taken: Taken) -> None:
        before = taken.loss if self.loss is None else self.loss
        self.loss = SMOOTHING * before + (1 - SMOOTHING) * taken.loss

    def news(self, taken: Taken, probe: Probe, total: int) -> Progress:
        done = taken.step - self.start
        rate = (time.monotonic() - self.began) / done
        metrics = {"loss": self.loss or 0.0, "seconds_per_step": taken.seconds}
        if self.tokens_at is not None:
            metrics["tokens_per_second"] = self.tokens_at(taken.step - 1) / taken.seconds
        metrics["memory_bytes"] = float(fitting.held_bytes())
        return Progress(
            "train",
            taken.step,
            total,
            metrics=metrics | probe.metrics,
            samples=probe.samples,
            # The first steps warm caches up: no time is promised before there is a rate.
            eta_seconds=rate * (total - taken.step) if done >= NEWS_EVERY else None,
        )


def work_folder(spec: TrainSpec) -> Path:
    """Where checkpoints lie: as told, or beside the output."""
    output = Path(spec.output)
    return Path(spec.work) if spec.work else output.with_name(f"{output.name}.work")


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
        if told.pop("spec") == spec.digest_of_work():
            digest = digests.folder_digest(output)
            return Outcome.from_dict(told | {"folder": str(output), "digest": digest})
    except (EngineError, OSError, ValueError, KeyError):
        pass
    raise InputError("output.exists", "something else is in the output folder", path=output.name)


def publish(spec: TrainSpec, kind: str, made: Prepared, metrics: Mapping[str, float]) -> None:
    """Write the result folder whole, its outcome inside: `finished` reads it."""
    told: dict[str, Any] = {
        "kind": kind,
        "parents": dict(made.parents),
        "metrics": dict(metrics),
        "facts": dict(made.facts),
        "spec": spec.digest_of_work(),
    }
    with checkpoints.whole(Path(spec.output)) as aside:
        if written := made.write(aside):
            told["metrics"] |= written.metrics
            told["facts"] |= written.facts
        (aside / OUTCOME).write_text(json.dumps(told, indent=2, sort_keys=True), encoding="utf-8")
