"""The queue of long work: claim until nothing waits, carry each run to its end.

A message here only wakes: lost or repeated, it does no harm. Draining (SIGTERM to the worker) is a
flag file that the heartbeat sees; the run gets its checkpoint and goes back into the queue.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from django.conf import settings

from apps.runs.claims import Claimed, claim
from apps.runs.endings import Fenced
from apps.runs.execution import Job, Wish, executing, persistently
from apps.runs.models import Run
from apps.runs.states import Kind, State
from apps.teaching.actions import go_on
from apps.tenants.scope import tenant_scope
from calm_engine.errors import Cancelled
from workers import composition, devices, evaluation, task, training
from workers.watch import is_disk_low

log = structlog.get_logger(__name__)

WORK: dict[str, Callable[[Job], None]] = {
    Kind.AUGMENT: training.augment,
    Kind.COMPOSE: composition.compose,
    Kind.EVALUATE: evaluation.evaluate,
    Kind.ESTIMATE: training.estimate,
}


@task("gpu.wake", queue="gpu")
def wake() -> None:
    """Carry runs one after another until none waits; a second message finds nothing and goes."""
    memory = devices.look().memory_bytes
    while not why_leave():
        attempt = claim("gpu", devices.slot_name(), memory=memory)
        if attempt is None:
            return
        carry(attempt)


def carry(attempt: Claimed) -> None:
    """One attempt at one run, and then the next step of its plan."""
    try:
        with executing(attempt, draining=why_leave) as job:
            if job.wish is Wish.CANCEL:
                raise Cancelled
            training.refuse_unreadable(job.run)
            WORK[job.run.kind](job)
    except Fenced:  # its lease ran out before the work began: it is another's now
        log.info("run.gone", run=str(attempt.run_id))
        return
    persistently(lambda: _next_step(attempt))


def _next_step(attempt: Claimed) -> None:
    with tenant_scope(attempt.tenant_id):
        run = Run.objects.get(pk=attempt.run_id)
        if run.plan and run.state == State.SUCCEEDED:
            go_on(run.plan)


def drain_flag(worker: int) -> Path:
    """The file whose presence says that the worker with this process id is leaving."""
    return Path(settings.HOME) / "drain" / str(worker)


def is_draining() -> bool:
    """Whether the worker that forked this process has been told to leave."""
    return drain_flag(os.getppid()).exists()


def why_leave() -> str:
    """Why a run must save and go back into the queue now; "" when it may work on."""
    if is_draining():
        return "The worker is leaving; another goes on from the checkpoint"
    if is_disk_low():
        return "The disk is nearly full; it goes on from the checkpoint when there is room"
    return ""


@worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery has no types
def raise_drain_flag(**_: Any) -> None:
    """In the worker's main process, at SIGTERM: the pool's processes see the file."""
    flag = drain_flag(os.getpid())
    flag.parent.mkdir(parents=True, exist_ok=True)
    flag.touch()


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
@worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def lower_drain_flag(**_: Any) -> None:
    """At the end, and at the start of a worker with the pid of one that was killed."""
    drain_flag(os.getpid()).unlink(missing_ok=True)
