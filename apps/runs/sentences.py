"""What a run's page says in one plain sentence, by fixed rules. Knows no HTML and no database.

A person should know whether a run is well without reading a chart. No time left is named before
there is a rate, and then as a range: an estimate is no promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from apps.runs.models import Run
from apps.runs.states import State

STARVED_AFTER = timedelta(seconds=60)
WINDOW = 0.2  # the share of the curve that is compared with the share before it
FLAT, WORSE = (
    0.995,
    1.10,
)  # later mean over earlier mean: above FLAT a plateau, above WORSE diverging
CLOSE = "Safe to close this page."


def sentence(run: Run, *, now: datetime, losses: Sequence[float] = (), ahead: int = 0) -> str:
    """One or two sentences on where this run stands and what comes next.

    losses  the training loss so far, oldest first
    ahead   how many of this tenant's runs wait in front of it
    """
    if run.state == State.QUEUED:
        return _queued(run, now, ahead)
    if run.state == State.RUNNING:
        return _running(run, now, losses)
    if run.state == State.SUCCEEDED:
        return f"Finished in {span(run)}."
    if run.state == State.CANCELLED:
        return (
            "Stopped as asked; the device is free. Run it again to go on from the last checkpoint."
        )
    return run.failure_text or f"Failed ({run.failure_code})."


def _queued(run: Run, now: datetime, ahead: int) -> str:
    again = "It goes on from its last checkpoint. " if run.attempts or run.epoch else ""
    if now - run.created_at > STARVED_AFTER and not run.epoch and not ahead:
        minutes = int((now - run.created_at).total_seconds() // 60)
        return (
            f"Waiting for {minutes} min and no worker has come. "
            f"Somebody should see whether the worker of the queue {run.queue} runs."
        )
    if ahead:
        others = "one run is" if ahead == 1 else f"{ahead} runs are"
        return f"Waiting: {others} ahead. {again}{CLOSE}"
    return f"Waiting for a worker. {again}{CLOSE}"


def _running(run: Run, now: datetime, losses: Sequence[float]) -> str:
    if run.is_stopping:
        return "Stopping: the worker has been asked, and has not yet answered."
    if run.is_silent(now) and run.heartbeat_at is not None:
        seconds = int((now - run.heartbeat_at).total_seconds())
        return (
            f"No heartbeat for {seconds} s. If the worker is gone, another one goes on "
            "from the last checkpoint when its lease ends."
        )
    doing = {"data": "Preparing the data.", "save": "Saving the result."}.get(run.stage)
    if doing is None:
        doing = health(losses) if run.total else "Starting."
    return f"{doing} {left(run, now)} {CLOSE}".replace("  ", " ")


def health(losses: Sequence[float]) -> str:
    """Training normally, on a plateau, or diverging: later mean of the loss against the earlier."""
    size = max(3, int(len(losses) * WINDOW))
    if len(losses) < 2 * size:
        return "Working normally."
    late = sum(losses[-size:]) / size
    early = sum(losses[-2 * size : -size]) / size
    if early > 0 and late / early > WORSE:
        return "The loss is rising: the run may be diverging. A smaller learning rate would help."
    if early > 0 and late / early > FLAT:
        return "The loss has stopped falling; that is usual towards the end."
    return "Training normally; the loss is falling."


def left(run: Run, now: datetime) -> str:
    """When it will be done, as a range; that it is being measured while there is no rate."""
    if run.eta_seconds is None:
        return "Time left: measuring…"
    early = timezone.localtime(now + timedelta(seconds=run.eta_seconds * 0.9))
    late = timezone.localtime(now + timedelta(seconds=run.eta_seconds * 1.3 + 5))
    if early.strftime("%H:%M") == late.strftime("%H:%M"):
        return f"Done about {early:%H:%M}."
    return f"Done about {early:%H:%M} to {late:%H:%M}."


def span(run: Run) -> str:
    """How long a finished run took, in words."""
    if run.started_at is None or run.finished_at is None:
        return "no time"
    seconds = int((run.finished_at - run.started_at).total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
