"""Begin and end of a run: claim, beat, fence, record how it ended. Knows no engine and no Celery.

Every write of a running run carries its epoch: whoever lost the lease moves no row, learns it by
that, and writes nothing more. Clocks are the database's. Nothing here stays in a transaction while
something is computed.
"""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, TypeVar, cast
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, connections, transaction
from django.db.models.functions import Coalesce, Now

from apps.audit.actions import record
from apps.runs.models import Run, RunMetric
from apps.runs.states import State
from apps.tenants.scope import tenant_scope
from calm_engine.errors import Cancelled, EngineError, InternalError
from calm_engine.specs import Outcome, Progress
from calm_engine.wording import sentence
from counterpoint.celery import send
from counterpoint.database import current_tenant_id
from counterpoint.live import publish

log = structlog.get_logger(__name__)
T = TypeVar("T")

DATABASE_AWAY = (OperationalError, InterfaceError)
PATIENCE_SECONDS = 600.0  # how long an end waits for a database that is away
NEWS_SECONDS = 1.0  # progress is written at most this often

# Policy stands in ORDER BY alone: priority, then the tenant with the fewest running, then age.
CLAIM = """
UPDATE runs_run SET state = 'running', epoch = epoch + 1, attempts = attempts + 1,
       owner = %(owner)s, lease_until = now() + %(lease)s
 WHERE state = 'queued' AND id = (
       SELECT waiting.id FROM runs_run AS waiting
        WHERE waiting.state = 'queued' AND waiting.queue = %(queue)s
        ORDER BY waiting.priority,
                 (SELECT count(*) FROM runs_run AS busy
                   WHERE busy.tenant_id = waiting.tenant_id AND busy.state = 'running'),
                 waiting.created_at, waiting.id
          FOR UPDATE OF waiting SKIP LOCKED LIMIT 1)
RETURNING id, tenant_id, epoch
"""
EXPIRED = """
SELECT id, tenant_id, epoch FROM runs_run WHERE state = 'running' AND lease_until < now()
"""
PARTS = ("created_by", "snapshot__corpus", "anchor", "augmenter", "composition", "control_run")
WAITING = "SELECT EXISTS (SELECT 1 FROM runs_run WHERE state = 'queued' AND queue = %(queue)s)"
BEAT = """
UPDATE runs_run SET lease_until = now() + %(lease)s, heartbeat_at = now()
 WHERE id = %(run)s AND epoch = %(epoch)s AND state = 'running'
RETURNING cancel_requested_at
"""

WE_MUST_MEND_IT = (
    "The worker met a fault of its own. Its log has the details under this run's number; "
    "run it again, and tell whoever looks after this installation if it fails once more."
)


class Fenced(Exception):  # noqa: N818  an ending, not an error
    """The run is no longer ours: another attempt owns it, or it has ended."""


class Drained(Exception):  # noqa: N818  an ending, not an error
    """This worker is leaving; the run has its checkpoint and goes back into the queue."""


class Lost(Exception):  # noqa: N818  an ending, not an error
    """The child was killed from outside. Another attempt goes on from its checkpoint."""


class Wish(Enum):
    """What the world wants of a running child, the strongest last."""

    NOTHING = 0
    DRAIN = 1
    CANCEL = 2
    FENCED = 3


@dataclass(frozen=True)
class Claimed:
    """One attempt at one run; `epoch` is its right to write."""

    run_id: UUID
    tenant_id: UUID
    epoch: int


def lease() -> timedelta:
    return timedelta(seconds=float(settings.RUN_LEASE_SECONDS))


@contextmanager
def _dispatching() -> Iterator[Any]:
    """A cursor that sees the scheduling columns of every tenant's runs, and nothing else."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE app_dispatch")
        yield cursor
        cursor.execute("RESET ROLE")  # for an outer transaction; otherwise the commit does it


def claim(queue: str, owner: str) -> Claimed | None:
    """Take the next waiting run of this queue, or None. One statement: two never get the same."""
    with _dispatching() as cursor:
        cursor.execute(CLAIM, {"owner": owner, "lease": lease(), "queue": queue})
        row = cursor.fetchone()
    return Claimed(*row) if row else None


def is_waiting(queue: str) -> bool:
    """Whether any tenant has a run waiting in this queue."""
    with _dispatching() as cursor:
        cursor.execute(WAITING, {"queue": queue})
        return bool(cursor.fetchone()[0])


def expired() -> list[Claimed]:
    """The attempts whose lease has run out, of every tenant."""
    with _dispatching() as cursor:
        cursor.execute(EXPIRED)
        return [Claimed(*row) for row in cursor.fetchall()]


def reap() -> int:
    """Give every run with an expired lease back to the queue, or end it. Returns how many.

    Whoever reaps the same run at the same time moves no row: the epoch decides.
    """
    return sum(1 for attempt in expired() if _reap_one(attempt))


def _reap_one(attempt: Claimed) -> bool:
    with tenant_scope(attempt.tenant_id):
        held = _held(attempt).filter(lease_until__lt=Now())
        run = held.select_for_update(skip_locked=True).first()
        if run is None:
            return False
        give_back(run, cause="The worker was lost: its lease ran out")
    return True


def _held(attempt: Claimed) -> Any:
    """The run's row, if this attempt still owns it."""
    return Run.objects.filter(pk=attempt.run_id, epoch=attempt.epoch, state=State.RUNNING)


def attempt_of(run: Run) -> Claimed:
    assert run.tenant_id is not None  # a run always has one; Django types the column loosely
    return Claimed(run.pk, run.tenant_id, run.epoch)


def hold(run: Run) -> None:
    """Lock the row for the caller's transaction. Raises Fenced before anything is published."""
    if _held(attempt_of(run)).select_for_update().first() is None:
        raise Fenced(str(run.pk))


def move(run: Run, state: State, **values: Any) -> None:
    """End this attempt: one fenced write. Raises Fenced when the attempt no longer owns the run.

    In a transaction of the caller, so that what is published and what is ended are one thing.
    """
    moved = _held(attempt_of(run)).update(state=state, lease_until=None, owner="", **values)
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
        failure_code="",
        failure_text="",
    )
    run.note("succeeded", "Finished")
    record("run.succeed", run, by=run.created_by, kind=run.kind)


def give_back(run: Run, *, cause: str) -> State:
    """End a lost attempt: queue the run again, or cancel or fail it when that is due.

    In the caller's transaction. A wish to cancel is honoured. Over the attempt cap, or lost twice
    at the same step, the run fails: going on would only burn the machine.
    """
    if run.cancel_requested_at is not None:
        _cancel(run)
        return State.CANCELLED
    if run.attempts >= int(settings.RUN_MAX_ATTEMPTS):
        _fail(
            run,
            "run.attempts",
            f"{cause}. It was tried {run.attempts} times; look at the log "
            "of the worker and at its memory, then run it again.",
        )
        return State.FAILED
    if run.step and run.died_at == run.step:
        _fail(
            run,
            "run.same_step",
            f"{cause}, twice at step {run.step}. Something there kills it: "
            "often memory. Try a smaller batch size.",
        )
        return State.FAILED
    move(run, State.QUEUED, died_at=run.step)
    run.note("requeued", f"{cause}; it goes on from its last checkpoint")
    send("gpu.wake")
    return State.QUEUED


def _requeue(run: Run) -> None:
    """A drained worker gives its claim back: it does not count as an attempt."""
    move(run, State.QUEUED, attempts=max(run.attempts - 1, 0))
    run.note("requeued", "The worker is leaving; another goes on from the checkpoint")
    send("gpu.wake")


def _cancel(run: Run) -> None:
    move(run, State.CANCELLED, finished_at=Now(), eta_seconds=None)
    run.note("cancelled", "Stopped as asked; the device is free")
    record("run.cancelled", run, by=run.created_by, kind=run.kind)


def _fail(run: Run, code: str, text: str) -> None:
    move(
        run,
        State.FAILED,
        failure_code=code[:60],
        failure_text=storable(text),
        finished_at=Now(),
        eta_seconds=None,
    )
    run.note("failed", storable(text))
    record("run.fail", run, by=run.created_by, outcome="failed", kind=run.kind, code=code)


def persistently(write: Callable[[], T], *, patience: float = PATIENCE_SECONDS) -> T:
    """Do one transaction, again while the database is away; after `patience` seconds give up.

    Nobody can claim the run meanwhile, and afterwards the epoch decides whether we still may.
    """
    deadline = time.monotonic() + patience
    pause = 0.5
    while True:
        try:
            return write()
        except DATABASE_AWAY:
            if time.monotonic() > deadline:
                raise
            log.warning("database.away", again_in=pause)
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2, 15.0)


class Job:
    """One attempt in progress: its run as claimed, its wishes, and where its news goes."""

    def __init__(self, attempt: Claimed, draining: Callable[[], bool]) -> None:
        self.attempt = attempt
        self._draining = draining
        self._wish = Wish.NOTHING
        self._over = threading.Event()
        self._rows: dict[tuple[int, str], float] = {}
        self._told = 0.0
        self._stage = ""
        self._last: Progress | None = None
        self.run = self._begin()

    def _begin(self) -> Run:
        with tenant_scope(self.attempt.tenant_id):
            held = _held(self.attempt)
            if not held.update(started_at=Coalesce("started_at", Now()), heartbeat_at=Now()):
                raise Fenced(str(self.attempt.run_id))
            run: Run = held.select_related(*PARTS).get()
            run.note("claimed", f"Attempt {run.attempts} starts")
        announce(run, State.RUNNING)
        return run

    @property
    def wish(self) -> Wish:
        """What to do with the child now; asked often, costs nothing."""
        drain = Wish.DRAIN if self._draining() else Wish.NOTHING
        return max(self._wish, drain, key=lambda wish: wish.value)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Renew the lease in a thread of its own, whatever the caller is busy with."""
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._beat,), name="heartbeat", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _beat(self) -> None:
        try:
            while not self._over.wait(float(settings.RUN_HEARTBEAT_SECONDS)):
                try:
                    self.beat()
                except DATABASE_AWAY:
                    log.warning("heartbeat.database_away")
                    connection.close()
        finally:
            connections.close_all()  # this thread's own connection

    def beat(self) -> None:
        """Renew the lease once and hear what is wished. A row that does not move fences us."""
        with tenant_scope(self.attempt.tenant_id), connection.cursor() as cursor:
            facts: dict[str, Any] = {"lease": lease()}
            facts |= {"run": self.attempt.run_id, "epoch": self.attempt.epoch}
            cursor.execute(BEAT, facts)
            row = cursor.fetchone()
        if row is None:
            self._wish = Wish.FENCED
        elif row[0] is not None and self._wish is not Wish.FENCED:
            self._wish = Wish.CANCEL

    def follow(self, news: Generator[Progress, None, Outcome]) -> Outcome:
        """Drain the engine's news into the row; return what came out."""
        while True:
            try:
                progress = next(news)
            except StopIteration as end:
                self._settle()
                return cast("Outcome", end.value)
            self.note(progress)

    def note(self, progress: Progress) -> None:
        """Keep what must last (step, numbers, samples) and tell whoever watches.

        Written at most once a second; numbers in between are kept for the next writing, also while
        the database is away. A write that moves no row fences us.
        """
        for name, value in progress.metrics.items():
            if math.isfinite(value):  # a gap is drawn as a gap
                self._rows[(progress.step, name[:80])] = value
        self._last = progress
        is_new_stage = progress.stage != self._stage
        is_due = time.monotonic() - self._told >= NEWS_SECONDS
        if is_due or is_new_stage or progress.samples:
            self._write(progress, is_new_stage=is_new_stage)

    def _settle(self) -> None:
        """Write the last news and the numbers that were waiting for their second."""
        if self._last is not None:
            self._write(self._last, is_new_stage=False)

    def _write(self, progress: Progress, *, is_new_stage: bool) -> None:
        rows = dict(self._rows)
        try:
            with tenant_scope(self.attempt.tenant_id):
                if not _held(self.attempt).update(**_news(progress)):
                    self._wish = Wish.FENCED
                    return
                _keep(self.run, rows)
                if is_new_stage and progress.stage:
                    self.run.note("stage", progress.message or f"Stage: {progress.stage}")
        except DATABASE_AWAY:
            log.warning("progress.database_away")
            connection.close()
            return
        for key in rows:
            del self._rows[key]
        self._told = time.monotonic()
        self._stage = progress.stage
        told = [[step, name, value] for (step, name), value in rows.items()]
        publish(f"run:{self.run.pk}", {"rows": told})

    def end(self, finish: Callable[[Run], object]) -> None:
        """Record an end in one transaction, patiently."""

        def write() -> None:
            with tenant_scope(self.attempt.tenant_id):
                held = _held(self.attempt).select_for_update(of=("self",))
                run = held.select_related("created_by").first()
                if run is None:
                    raise Fenced(str(self.attempt.run_id))
                finish(run)

        persistently(write)


def storable(value: Any) -> Any:
    """The same without NUL, which an untrained model may well say and PostgreSQL cannot keep."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {storable(name): storable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value


def _news(progress: Progress) -> dict[str, Any]:
    """The columns of a run that a piece of progress sets."""
    news: dict[str, Any] = {
        "stage": progress.stage[:40],
        "step": progress.step,
        "total": progress.total,
        "message": progress.message,
        "eta_seconds": progress.eta_seconds,
    }
    news |= {"samples": list(progress.samples)} if progress.samples else {}
    return cast("dict[str, Any]", storable(news))


def _keep(run: Run, rows: dict[tuple[int, str], float]) -> None:
    """Upsert numbers: after a resume the same step comes again."""
    RunMetric.objects.bulk_create(
        [
            RunMetric(tenant_id=run.tenant_id, run=run, step=step, name=name, value=value)
            for (step, name), value in rows.items()
        ],
        update_conflicts=True,
        unique_fields=["tenant", "run", "step", "name"],
        update_fields=["value"],
    )


def _end_quietly(job: Job, finish: Callable[[Run], object]) -> None:
    """Record an end; when the run is no longer ours, that is the new owner's to do."""
    try:
        job.end(finish)
    except Fenced:
        log.info("run.fenced")


@contextmanager
def _in_view(tenant_id: UUID) -> Iterator[None]:
    """Whose files and rows the body means, without a transaction that would stay open."""
    token = current_tenant_id.set(tenant_id)
    try:
        yield
    finally:
        current_tenant_id.reset(token)


@contextmanager
def executing(attempt: Claimed, *, draining: Callable[[], bool] = lambda: False) -> Iterator[Job]:
    """Carry one claimed run: beat while the body works, and record how it ended.

    The body ends the run well through `runs.actions.finish_*` or `evaluation.actions.file_report`;
    whatever it raises is recorded here and goes no further, but for the process's own end.
    Raises Fenced before the body begins when the run is no longer this attempt's.
    """
    facts = {"tenant": str(attempt.tenant_id), "run": str(attempt.run_id), "epoch": attempt.epoch}
    with structlog.contextvars.bound_contextvars(**facts), _in_view(attempt.tenant_id):
        job = Job(attempt, draining)
        try:
            with job.beating():
                yield job
        except Fenced:
            log.info("run.fenced")
        except (KeyboardInterrupt, SystemExit):
            _end_quietly(job, _requeue)
            raise
        except Drained:
            _end_quietly(job, _requeue)
        except Lost as lost:
            cause = str(lost)
            _end_quietly(job, lambda run: give_back(run, cause=cause))
        except Cancelled:
            _end_quietly(job, _cancel)
        except EngineError as error:
            log.warning("run.failed", code=error.code)
            code, text = error.code, sentence(error)
            _end_quietly(job, lambda run: _fail(run, code, text))
        except Exception:
            log.exception("run.broke")
            fault = InternalError("run.internal", WE_MUST_MEND_IT)
            _end_quietly(job, lambda run: _fail(run, fault.code, sentence(fault)))
