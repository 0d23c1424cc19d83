"""What a run's page says in one plain sentence, by fixed rules. Knows no HTML and no database.

A person should know whether a run is well without reading a chart. No time left is named before
there is a rate, and then as a range: an estimate is no promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from apps.runs.models import Run
from apps.runs.standing import Standing
from apps.runs.states import State

WINDOW = 0.2  # the share of the curve that is compared with the share before it
FLAT, WORSE = (
    0.995,
    1.10,
)  # later mean over earlier mean: above FLAT a plateau, above WORSE diverging
DAMAGE = 0.1  # nats a token from the anchor on public text: its own words are a tenth less likely
CLOSE = "Safe to close this page."


def sentence(
    run: Run,
    stands: Standing,
    *,
    now: datetime,
    losses: Sequence[float] = (),
    moved: Sequence[float] = (),
) -> str:
    """One or two sentences on where this run stands and what comes next.

    losses  the training loss so far, oldest first
    moved   how far bridges have moved public text from the anchor, at each look, oldest first
    """
    if run.state == State.QUEUED:
        again = "It goes on from its last checkpoint." if run.epoch else ""
        return _joined(stands.reason, stands.next, again, CLOSE)
    if run.state == State.RUNNING:
        return _running(run, stands, now, losses, moved)
    if run.state == State.SUCCEEDED:
        return f"Finished in {span(run)}."
    if run.state == State.CANCELLED and run.discard:
        return "Discarded as asked; the device is free and its checkpoints are removed."
    if run.state == State.CANCELLED:
        return (
            "Stopped as asked; the device is free. Run it again to go on from the last checkpoint."
        )
    return run.failure_text or f"Failed ({run.failure_code})."


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _running(
    run: Run, stands: Standing, now: datetime, losses: Sequence[float], moved: Sequence[float]
) -> str:
    if stands.reason:
        heard = ""
        if run.is_silent(now) and run.heartbeat_at is not None:
            heard = f"No heartbeat for {int((now - run.heartbeat_at).total_seconds())} s."
        return _joined(stands.reason, heard, stands.next)
    doing = {"data": "Preparing the data.", "save": "Saving the result."}.get(run.stage)
    if doing is None:
        doing = health(losses) if run.total else "Starting."
    return _joined(doing, damage(moved), left(run, now), CLOSE)


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


def damage(moved: Sequence[float]) -> str:
    """An alarm when public text is far from the anchor and not on its way back; or ""."""
    if not moved or moved[-1] < DAMAGE or (len(moved) > 1 and moved[-1] < moved[-2]):
        return ""
    return (
        f"On public text it speaks ever less like the anchor ({moved[-1]:.2f} nats a token): an "
        "early sign of damage. A smaller learning rate or a larger general_share would help."
    )


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
    return in_words(int((run.finished_at - run.started_at).total_seconds()))


def elapsed(run: Run, now: datetime) -> str:
    """How long it has worked so far, or worked in all; empty before it began."""
    if run.started_at is None:
        return ""
    return in_words(int(((run.finished_at or now) - run.started_at).total_seconds()))


def in_words(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
