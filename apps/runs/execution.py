"""Carry one claimed run: begin, beat, keep its news, record how it ended. Knows no engine.

Clocks are the database's, and every write carries the attempt's epoch. Nothing here stays in a
transaction while something is computed.
"""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any, TypeVar, cast
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.models.functions import Coalesce, Now

from apps.accounts import quotas
from apps.runs import sharing
from apps.runs.claims import Claimed, charge, lease
from apps.runs.endings import (
    Fenced,
    announce,
    cancel,
    fail,
    give_back,
    held,
    pause,
    requeue,
    storable,
)
from apps.runs.models import Run, RunMetric, RunSample
from apps.runs.states import State
from apps.tenants.scope import tenant_scope
from calm_engine.errors import Cancelled, EngineError, InternalError
from calm_engine.specs import Outcome, Progress
from counterpoint.database import current_tenant_id
from counterpoint.live import publish

log = structlog.get_logger(__name__)
T = TypeVar("T")

DATABASE_AWAY = (OperationalError, InterfaceError)
PATIENCE_SECONDS = 600.0  # how long an end waits for a database that is away
SAVING = "save"  # the engine's last stage
NEWS_SECONDS = 1.0  # progress is written at most this often

PARTS = (
    "created_by",
    "snapshot__corpus",
    "anchor",
    "augmenter",
    "base",
    "composition",
    "control_run",
)
# What is charged is the time since the last beat, never more than a lease: clocks may jump.
BEAT = """
UPDATE runs_run AS run
   SET lease_until = now() + %(lease)s, heartbeat_at = now(),
       used_seconds = run.used_seconds + taken.seconds
  FROM (SELECT id, extract(epoch FROM least(greatest(now() - heartbeat_at, interval '0'),
                                            %(lease)s))::float AS seconds
          FROM runs_run
         WHERE id = %(run)s AND epoch = %(epoch)s AND state = 'running' FOR UPDATE) AS taken
 WHERE run.id = taken.id AND run.epoch = %(epoch)s AND run.state = 'running'
RETURNING run.cancel_requested_at, run.pause_requested_at, taken.seconds,
          (SELECT slot.serving_asked_at > now() - %(asked)s FROM runs_slot AS slot
            WHERE slot.name = run.owner)
"""

WE_MUST_MEND_IT = (
    "The worker met a fault of its own. Its log has the details under this run's number; "
    "run it again, and tell whoever looks after this installation if it fails once more."
)


class Drained(Exception):  # noqa: N818  an ending, not an error
    """This worker is leaving; the run has its checkpoint and goes back into the queue."""


class Paused(Exception):  # noqa: N818  an ending, not an error
    """Somebody asked for a pause; the run has its checkpoint and waits until it may go on."""


class Lost(Exception):  # noqa: N818  an ending, not an error
    """The child was killed from outside. Another attempt goes on from its checkpoint."""


class Wish(Enum):
    """What the world wants of a running child, the strongest last."""

    NOTHING = 0
    DRAIN = 1
    PAUSE = 2
    CANCEL = 3
    FENCED = 4


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

    def __init__(self, attempt: Claimed, draining: Callable[[], str]) -> None:
        self.attempt = attempt
        self._draining = draining
        self._wish = Wish.NOTHING
        self._give_way = ""
        self._over = threading.Event()
        self._rows: dict[tuple[int, str], float] = {}
        self._told = 0.0
        self._stage = ""
        self._last: Progress | None = None
        self.run = self._begin()

    def _begin(self) -> Run:
        with tenant_scope(self.attempt.tenant_id):
            ours = held(self.attempt)
            if not ours.update(started_at=Coalesce("started_at", Now()), heartbeat_at=Now()):
                raise Fenced(str(self.attempt.run_id))
            run: Run = ours.select_related(*PARTS).get()
            if run.cancel_requested_at is not None:  # between the claim and now
                self._wish = Wish.CANCEL
            run.note("claimed", f"Attempt {run.attempts} starts")
            self._pause_if_used_up(run)
        announce(run, State.RUNNING)
        return run

    def _pause_if_used_up(self, run: Run) -> None:
        """A run that was queued while there was time left waits until there is some again."""
        over = quotas.refusal(run.created_by, quotas.Kind.GPU_MINUTES) if run.created_by else None
        if over is not None and self._wish is Wish.NOTHING:
            held(self.attempt).update(pause_requested_at=Now())
            self._wish = Wish.PAUSE
            run.note("paused", f"The limit of {over.limit} is used up for {over.whom}")

    @property
    def wish(self) -> Wish:
        """What to do with the child now; asked often, costs nothing."""
        drain = Wish.DRAIN if self.why_leave() else Wish.NOTHING
        return max(self._wish, drain, key=lambda wish: wish.value)

    def why_leave(self) -> str:
        """Why this attempt must let go of its run: the worker's reason, or chat's turn; or ""."""
        return self._draining() or self._give_way

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
            facts: dict[str, Any] = {"lease": lease(), "asked": sharing.ASKED_FOR}
            facts |= {"run": self.attempt.run_id, "epoch": self.attempt.epoch}
            cursor.execute(BEAT, facts)
            row = cursor.fetchone()
            if row is not None:
                charge(self.attempt.tenant_id, row[2])
        if row is None:
            self._wish = Wish.FENCED
        elif self._wish is not Wish.FENCED:
            # Read anew each time: a pause may be taken back before the child has heard of it.
            cancelled, paused, _, serving_asks = row
            self._give_way = sharing.why_training_leaves(serving_asks=bool(serving_asks))
            asked = Wish.PAUSE if paused is not None else Wish.NOTHING
            self._wish = Wish.CANCEL if cancelled is not None else asked

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
        """Write the last news and the numbers that were waiting; charge the time since a beat."""
        if self._last is not None:
            self._write(self._last, is_new_stage=False)
        with suppress(*DATABASE_AWAY):
            self.beat()

    def _write(self, progress: Progress, *, is_new_stage: bool) -> None:
        rows = dict(self._rows)
        try:
            with tenant_scope(self.attempt.tenant_id):
                if not held(self.attempt).update(**_news(progress)):
                    self._wish = Wish.FENCED
                    return
                _keep(self.run, rows)
                _look(self.run, progress)
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

    def keep_checkpoints(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Write down which checkpoints are whole on disk: step, bytes, digest, is_milestone."""
        rows = list(found)
        steps = [row["step"] for row in rows]
        with suppress(*DATABASE_AWAY), tenant_scope(self.attempt.tenant_id):
            if not held(self.attempt).exists():
                return
            self.run.checkpoints.exclude(step__in=steps).delete()
            told = self.run.metrics.filter(name="loss", step__in=steps)
            losses = dict(told.values_list("step", "value"))
            for row in rows:
                facts = {**row, "epoch": self.attempt.epoch, "loss": losses.get(row["step"])}
                step = facts.pop("step")
                self.run.checkpoints.update_or_create(step=step, defaults=facts)

    def end(self, finish: Callable[[Run], object]) -> None:
        """Record an end in one transaction, patiently."""

        def write() -> None:
            with tenant_scope(self.attempt.tenant_id):
                ours = held(self.attempt).select_for_update(of=("self",))
                run = ours.select_related("created_by").first()
                if run is None:
                    raise Fenced(str(self.attempt.run_id))
                finish(run)

        persistently(write)


def _news(progress: Progress) -> dict[str, Any]:
    """The columns of a run that a piece of progress sets."""
    news: dict[str, Any] = {
        "stage": progress.stage[:40],
        "message": progress.message,
        "eta_seconds": progress.eta_seconds,
    }
    if progress.stage != SAVING:  # the result is written, the steps are what they were
        news |= {"step": progress.step, "total": progress.total}
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


def _look(run: Run, progress: Progress) -> None:
    """Keep these answers to the fixed questions: the page shows them look by look."""
    if progress.samples:
        RunSample.objects.update_or_create(
            run=run, step=progress.step, defaults={"samples": storable(list(progress.samples))}
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
def executing(attempt: Claimed, *, draining: Callable[[], str] = str) -> Iterator[Job]:
    """Carry one claimed run: beat while the body works, and record how it ended.

    The body ends the run well through `runs.actions.finish_*` or `evaluation.actions.file_report`;
    whatever it raises is recorded here and goes no further, but for the process's own end.
    draining   why this worker must let go of the run, or ""; asked often, also between two beats
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
            _end_quietly(job, lambda run: requeue(run, job.why_leave()))
            raise
        except Drained:
            _end_quietly(job, lambda run: requeue(run, job.why_leave()))
        except Paused:
            _end_quietly(job, pause)
        except Lost as lost:
            cause = str(lost)
            _end_quietly(job, lambda run: give_back(run, cause=cause, died_at=run.step))
        except DATABASE_AWAY:
            log.warning("run.database_away")
            away = "The database was away"
            _end_quietly(job, lambda run: give_back(run, cause=away))
        except Cancelled:
            _end_quietly(job, cancel)
        except EngineError as error:
            log.warning("run.failed", code=error.code)
            failed = error
            _end_quietly(job, lambda run: fail(run, failed))
        except Exception:
            log.exception("run.broke")
            fault = InternalError("run.internal", WE_MUST_MEND_IT)
            _end_quietly(job, lambda run: fail(run, fault))
