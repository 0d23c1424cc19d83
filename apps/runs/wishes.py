"""What people wish of a run: pause, stop, discard, try again, repeat, branch. Knows no worker.

A wish is a timestamp on the row; the worker answers at its next heartbeat. Each move compares and
sets: of two that race one wins, and asking twice is asking once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce, Now

from apps.audit.actions import record
from apps.runs.actions import SPECS, Settings, checked, queue, refuse_stranger
from apps.runs.causes import fix_for
from apps.runs.endings import announce
from apps.runs.models import Notice, Run
from apps.runs.states import ACTIVE, FINAL, Kind, State
from calm_engine.errors import InputError
from counterpoint.celery import send

if TYPE_CHECKING:
    from apps.accounts.models import User


def ask_to_cancel(run: Run, *, by: User | None, discard: bool = False) -> State:
    """Stop a run: at once while it waits, at the worker's next heartbeat while it works.

    discard   its checkpoints go too; otherwise it can be run again from the last one
    Returns the state after asking: cancelled, running (stopping), or the final one it had.
    """
    with transaction.atomic():
        now = Run.objects.select_for_update().get(pk=run.pk)
        if now.state in FINAL:
            return State(now.state)
        if discard:
            now.checkpoints.all().delete()
        if now.state == State.QUEUED:
            # Compare and set: a worker that claims in this moment has won the row lock or lost it.
            Run.objects.filter(pk=run.pk, state=State.QUEUED).update(
                state=State.CANCELLED,
                finished_at=Now(),
                cancel_requested_at=Now(),
                pause_requested_at=None,
                discard=discard,
            )
            now.note("cancelled", "Stopped while it waited")
            reached = State.CANCELLED
        else:
            Run.objects.filter(pk=run.pk).update(
                cancel_requested_at=Coalesce("cancel_requested_at", Now()),
                discard=Value(True) if discard else F("discard"),
            )
            now.note("cancel_asked", "Asked to stop; the worker will answer")
            reached = State.RUNNING
        record("run.cancel", run, by=by, discard=discard)
        transaction.on_commit(lambda: announce(run, reached))
    return reached


def pause(run: Run, *, by: User) -> None:
    """Have a run save and let go of its device, or not begin; nobody claims it until `go_on`.

    Asked twice it is asked once. Raises InputError("run.not_active") when it has ended or stops.
    """
    _wish_for_pause(run, Now(), kind="pause_asked", text="Asked to pause", by=by)


def go_on(run: Run, *, by: User) -> None:
    """Let a paused run wait for a worker again. Raises InputError("run.not_active")."""
    _wish_for_pause(run, None, kind="go_on", text="May go on from its checkpoint", by=by)


def _wish_for_pause(run: Run, at: Now | None, *, kind: str, text: str, by: User) -> None:
    with transaction.atomic():
        active = Run.objects.filter(pk=run.pk, state__in=ACTIVE, cancel_requested_at=None)
        moved = active.filter(pause_requested_at__isnull=at is not None).update(
            pause_requested_at=at, queued_at=Now()
        )
        if moved:
            run.note(kind, text)
            record(f"run.{kind}", run, by=by)
            send("gpu.wake")
            transaction.on_commit(lambda: announce(run, State(run.state)))
        elif not active.exists():
            raise InputError("run.not_active")


def retry(run: Run, *, by: User, with_fix: bool = False) -> Run:
    """Queue a failed or cancelled run again; it goes on from its newest checkpoint.

    with_fix   with what `causes.fix_for` proposes for its failure
    Raises InputError("run.not_retryable") while it is active or when it has succeeded.
    """
    refuse_stranger(by, run.closure)
    with transaction.atomic():
        failed = Run.objects.select_for_update().get(pk=run.pk)
        is_fixed = with_fix and bool(failed.cause)
        changes = fix_for(failed.cause, failed.asked).changes if is_fixed else {}
        moved = Run.objects.filter(pk=run.pk, state__in=(State.FAILED, State.CANCELLED)).update(
            state=State.QUEUED,
            attempts=0,
            died_at=None,
            cancel_requested_at=None,
            pause_requested_at=None,
            discard=False,
            finished_at=None,
            failure_code="",
            failure_text="",
            cause="",
            queued_at=Now(),
            changes=failed.changes | changes,
        )
        if not moved:
            raise InputError("run.not_retryable")
        run.refresh_from_db()
        run.note("queued", "Run again, from its last checkpoint")
        Notice.objects.filter(user=by, run=run, read_at=None).update(read_at=Now())
        record("run.retry", run, by=by, **changes)
        send("gpu.wake")
        transaction.on_commit(lambda: announce(run, State.QUEUED))
    return run


def repeat(run: Run, *, by: User) -> Run:
    """Queue a new run of the same stored spec and the same inputs, from the beginning.

    Asked twice, as by a second click, the repeat that still waits or works is given back.
    Raises InputError as a start does: a spec that this release no longer knows, or a closure that
    `by` may not read.
    """
    with transaction.atomic():
        Run.objects.select_for_update().get(pk=run.pk)  # one at a time
        same = run.descendants.filter(snapshot=run.snapshot_id, branch_step=None)
        active = same.filter(state__in=ACTIVE, created_by=by)
        twin: Run | None = active.first()
        return twin or _descend(run, run.asked, branch_step=None, by=by)


def branch(run: Run, step: int, *, settings: Settings, by: User) -> Run:
    """Queue a new run that goes on from a checkpoint of this one, with these settings changed.

    Raises InputError("run.checkpoint") when there is no such checkpoint any more.
    """
    if not run.checkpoints.filter(step=step).exists():
        raise InputError("run.checkpoint")
    return _descend(run, run.asked | checked(settings), branch_step=step, by=by)


def _descend(run: Run, asked: Mapping[str, Any], *, branch_step: int | None, by: User) -> Run:
    spec = SPECS[Kind(run.kind)].from_dict(dict(asked))
    return queue(
        Kind(run.kind),
        spec,
        snapshot=run.snapshot,
        anchor=run.anchor,
        augmenter=run.augmenter,
        base=run.base,
        composition=run.composition,
        control_run=run.control_run,
        control=run.control,
        closure=list(run.closure),
        by=by,
        name=run.name,
        plan=None,
        source=run,
        branch_step=branch_step,
        device_bytes=run.device_bytes,
    )
