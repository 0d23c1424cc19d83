"""The strip of a plan: its steps in order, each with its state. Read from the runs alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse

from apps.runs.models import Run
from apps.runs.states import Control, Kind, State

STEPS: tuple[tuple[str, Kind, Control], ...] = (
    ("Augmenter", Kind.AUGMENT, Control.NONE),
    ("Bridges", Kind.COMPOSE, Control.NONE),
    ("Control", Kind.COMPOSE, Control.RANDOM),
    ("Evaluation", Kind.EVALUATE, Control.NONE),
)
LOOKS = {
    State.QUEUED: ("waiting", "queued"),
    State.RUNNING: ("busy", ""),
    State.SUCCEEDED: ("done", ""),
    State.FAILED: ("bad", ""),
    State.CANCELLED: ("bad", "stopped"),
}


@dataclass(frozen=True)
class Step:
    """One step as the component `strip` wants it."""

    name: str
    state: str
    word: str
    href: str


def strip(runs: Iterable[Run]) -> list[Step]:
    """The snapshot, then each step with its newest run; what has no run yet waits."""
    newest = {(run.kind, run.control): run for run in runs}
    steps = [Step("Snapshot", "done", "", "")]
    steps += [_step(name, newest.get((kind, control))) for name, kind, control in STEPS]
    return steps


def of_plan(plan_id: UUID) -> list[Step]:
    return strip(Run.objects.of_plan(plan_id))


def _step(name: str, run: Run | None) -> Step:
    if run is None:
        return Step(name, "waiting", "", "")
    state, word = LOOKS[State(run.state)]
    if state == "busy":
        word = f"{run.percent()} %" if run.total else ""
    return Step(name, state, word, reverse("runs:run", kwargs={"code": run.pk}))
