"""How an attempt ends: done, failed, cancelled, paused, or back in the queue. Knows no child.

Every move is one write that carries the attempt's epoch: whoever lost the lease moves no row,
learns it by that, and writes nothing more. Each function runs in the caller's transaction, so that
what is published and what is ended are one thing.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from apps.audit.actions import record
from apps.runs import notices
from apps.runs.causes import Fix, cause_of, fix_for
from apps.runs.claims import Claimed, expired
from apps.runs.models import Run
from apps.runs.states import Cause, Kind, State
from apps.tenants.scope import tenant_scope
from calm_engine.errors import EngineError
from counterpoint.celery import send
from counterpoint.live import publish
from counterpoint.wording import sentence


class Fenced(Exception):  # noqa: N818  an ending, not an error
    """The run is no longer ours: another attempt owns it, or it has ended."""


def held(attempt: Claimed) -> Any:
    """The run's row, if this attempt still owns it."""
    return Run.objects.filter(pk=attempt.run_id, epoch=attempt.epoch, state=State.RUNNING)


def attempt_of(run: Run) -> Claimed:
    assert run.tenant_id is not None  # a run always has one; Django types the column loosely
    return Claimed(run.pk, run.tenant_id, run.epoch)


def hold(run: Run) -> None:
    """Lock the row for the caller's transaction. Raises Fenced before anything is published."""
    if held(attempt_of(run)).select_for_update().first() is None:
        raise Fenced(str(run.pk))


def move(run: Run, state: State, **values: Any) -> None:
    """End this attempt: one fenced write. Raises Fenced when the attempt no longer owns the run."""
    moved = held(attempt_of(run)).update(state=state, lease_until=None, owner="", **values)
    if not moved:
        raise Fenced(str(run.pk))
    run.state = state
    transaction.on_commit(lambda: announce(run, state))


def announce(run: Run, state: State) -> None:
    publish(f"run:{run.pk}", {"state": str(state)})


def succeed(run: Run, outcome: dict[str, Any]) -> None:
    """Write success, fenced; in the transaction that publishes the result."""
    move(
        run,
        State.SUCCEEDED,
        outcome=storable(outcome),
        finished_at=Now(),
        eta_seconds=None,
        pause_requested_at=None,
    )
    run.checkpoints.filter(is_milestone=False).delete()  # they go with the run's folder
    run.note("succeeded", "Finished")
    record("run.succeed", run, by=run.created_by, kind=run.kind)
    if run.kind == Kind.ESTIMATE:
        return  # the page that asked shows it; it is no news
    if run.kind == Kind.EVALUATE:
        notices.tell(run, notices.APPROVAL, f"{run} is finished: its report waits for a decision.")
    else:
        notices.tell(run, notices.FINISHED, f"{run} is finished.")


def give_back(run: Run, *, cause: str, died_at: int | None = None) -> State:
    """End a lost attempt: queue the run again, or cancel or fail it when that is due.

    died_at   the step at which its own process was ended; None when its worker was lost, which
              says nothing of the step
    A wish to cancel is honoured. Over the attempt cap, or dead twice at the same step, the run
    fails: going on would only burn the machine.
    """
    if run.cancel_requested_at is not None:
        cancel(run)
        return State.CANCELLED
    if run.attempts >= int(settings.RUN_MAX_ATTEMPTS):
        _fail(
            run,
            "run.attempts",
            Cause.LOST,
            f"{cause}. It was tried {run.attempts} times; look at the log "
            "of the worker and at its memory, then run it again.",
        )
        return State.FAILED
    if died_at and run.died_at == died_at:
        _fail(
            run,
            "run.same_step",
            Cause.MEMORY,
            f"{cause}, twice at step {run.step}. Something there kills it: often memory.",
        )
        return State.FAILED
    _queue_again(
        run, f"{cause}; it goes on from its last checkpoint", died_at=died_at, eta_seconds=None
    )
    return State.QUEUED


def requeue(run: Run, why: str) -> None:
    """A drained worker gives its claim back: it does not count as an attempt."""
    text = why or "The worker has let go of it; another goes on from the checkpoint"
    _queue_again(run, text, attempts=max(run.attempts - 1, 0))


def pause(run: Run) -> None:
    """The worker has saved and let go; nobody claims the run until somebody lets it go on."""
    move(run, State.QUEUED, attempts=max(run.attempts - 1, 0), queued_at=Now(), eta_seconds=None)
    run.note("paused", "Paused at its checkpoint; the device is free")
    record("run.paused", run, by=run.created_by)


def _queue_again(run: Run, text: str, **values: Any) -> None:
    move(run, State.QUEUED, queued_at=Now(), **values)
    run.note("requeued", text)
    send("gpu.wake")


def cancel(run: Run) -> None:
    move(run, State.CANCELLED, finished_at=Now(), eta_seconds=None, pause_requested_at=None)
    kept = "Discarded as asked" if run.discard else "Stopped as asked"
    run.note("cancelled", f"{kept}; the device is free")
    record("run.cancelled", run, by=run.created_by, kind=run.kind)


def fail(run: Run, error: EngineError) -> State:
    """Record why it failed; what a safe fix may mend is queued again with it instead."""
    cause = cause_of(error)
    fix = fix_for(cause, run.asked)
    if fix.is_safe and _may_try(run):
        _mend(run, error, fix)
        return State.QUEUED
    _fail(run, error.code, cause, sentence(error))
    return State.FAILED


def _may_try(run: Run) -> bool:
    is_wanted = run.cancel_requested_at is None
    return is_wanted and run.attempts < int(settings.RUN_MAX_ATTEMPTS)


def _mend(run: Run, error: EngineError, fix: Fix) -> None:
    changes = run.changes | fix.changes
    _queue_again(run, f"{sentence(error)} Tried by itself: {fix.text}", changes=changes)
    record("run.mend", run, by=None, code=error.code, **fix.changes)


def _fail(run: Run, code: str, cause: Cause, text: str) -> None:
    move(
        run,
        State.FAILED,
        failure_code=code[:60],
        failure_text=storable(text),
        cause=cause,
        finished_at=Now(),
        eta_seconds=None,
        pause_requested_at=None,
    )
    run.failure_code = code[:60]
    run.note("failed", storable(text))
    record("run.fail", run, by=run.created_by, outcome="failed", kind=run.kind, code=code)
    notices.tell(run, notices.FAILED, f"{run} has failed: {cause.label.lower()}.")


def storable(value: Any) -> Any:
    """The same without NUL, which an untrained model may well say and PostgreSQL cannot keep."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {storable(name): storable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value


def reap() -> int:
    """Give every run with an expired lease back to the queue, or end it. Returns how many.

    Whoever reaps the same run at the same time moves no row: the epoch decides.
    """
    return sum(1 for attempt in expired() if _reap_one(attempt))


def _reap_one(attempt: Claimed) -> bool:
    with tenant_scope(attempt.tenant_id):
        lost = held(attempt).filter(lease_until__lt=Now())
        run = lost.select_for_update(skip_locked=True).first()
        if run is None:
            return False
        give_back(run, cause="The worker was lost: its lease ran out")
    return True
