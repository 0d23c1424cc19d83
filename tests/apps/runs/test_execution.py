"""Claim, lease, epoch: one owner at a time, and whoever lost a run writes nothing more."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import ProgrammingError, connection, connections, transaction
from django.db.models.functions import Now

from apps.registry.models import Augmenter
from apps.runs import actions, claims, endings, execution, wishes
from apps.runs.causes import fix_for
from apps.runs.claims import Claimed, claim
from apps.runs.endings import Fenced, reap
from apps.runs.execution import Drained, Lost, Paused, Wish, executing
from apps.runs.models import Run, RunMetric, Share
from apps.runs.states import State
from apps.tenants.scope import tenant_scope
from calm_engine.errors import Cancelled, InputError, InternalError
from calm_engine.specs import Outcome, Progress
from tests.apps.runs.making import make_run
from tests.cast import Cast
from workers import gpu

pytestmark = pytest.mark.django_db(transaction=True)
WELL = {"kind": "augmenter", "digest": "0" * 64, "folder": ""}


@pytest.fixture
def run(cast: Cast) -> Run:
    with tenant_scope(cast.north):
        return make_run(cast.ada)


def now(cast: Cast, run: Run) -> Run:
    with tenant_scope(cast.north):
        return Run.objects.get(pk=run.pk)


def events(cast: Cast, run: Run) -> list[str]:
    with tenant_scope(cast.north):
        return list(run.events.values_list("kind", flat=True))


@pytest.fixture(autouse=True)
def _beats_when_told(settings: Any) -> None:
    """No heartbeat of its own comes between two lines of a test."""
    settings.RUN_HEARTBEAT_SECONDS = 3600


def claimed() -> Claimed:
    attempt = claim("gpu", "this worker")
    assert attempt is not None
    return attempt


def expire(cast: Cast, run: Run) -> None:
    """As if the worker had not been heard of since before its lease."""
    with tenant_scope(cast.north):
        Run.objects.filter(pk=run.pk).update(lease_until=Now() - timedelta(seconds=1))


def succeed(job: execution.Job) -> None:
    with tenant_scope(job.attempt.tenant_id):
        endings.succeed(job.run, WELL)


# -- claim -----------------------------------------------------------------------------------------


def test_of_many_claimants_one_wins(run: Run) -> None:
    start = threading.Barrier(6)

    def try_it(number: int) -> Claimed | None:
        try:
            start.wait()
            return claim("gpu", f"worker {number}")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        won = [found for found in pool.map(try_it, range(6)) if found]
    assert [found.run_id for found in won] == [run.pk]
    assert won[0].epoch == 1


def test_a_claim_sees_every_tenant_and_takes_the_least_busy_one_first(cast: Cast) -> None:
    with tenant_scope(cast.north):
        first, second = make_run(cast.ada, "One"), make_run(cast.ada, "Two")
    with tenant_scope(cast.south):
        third = make_run(cast.cy, "Three")
    order = [claimed().run_id for _ in range(3)]
    assert order == [first.pk, third.pk, second.pk]  # South waited less, but had nothing running
    assert claim("gpu", "this worker") is None


def test_a_more_urgent_run_goes_first(cast: Cast) -> None:
    with tenant_scope(cast.north):
        make_run(cast.ada, "One")
        urgent = make_run(cast.ada, "Two")
        Run.objects.filter(pk=urgent.pk).update(priority=-1)
    assert claimed().run_id == urgent.pk


def test_another_queue_is_left_alone(run: Run) -> None:
    assert claim("other", "this worker") is None
    assert not claims.is_waiting("other")
    assert claims.is_waiting("gpu")


def test_without_the_dispatchers_role_nobody_sees_a_run_of_no_tenant(run: Run) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs_run")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    ["SELECT spec FROM runs_run", "UPDATE runs_run SET tenant_id = id", "DELETE FROM runs_run"],
)
def test_the_dispatcher_may_schedule_and_nothing_else(run: Run, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), claims.dispatching() as c:
        c.execute(statement)


def test_the_role_is_given_back_after_a_claim(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north):
        claimed()
        assert Run.objects.values_list("spec", flat=True).get()


# -- ends ------------------------------------------------------------------------------------------


def test_a_run_that_is_done_says_so_once(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        succeed(job)
    after = now(cast, run)
    assert (after.state, after.owner, after.lease_until) == ("succeeded", "", None)
    assert after.started_at is not None
    assert after.finished_at is not None
    assert events(cast, run) == ["queued", "claimed", "succeeded"]


@pytest.mark.parametrize(
    ("raised", "state", "code"),
    [
        (InputError("device.missing", "No such device."), "failed", "device.missing"),
        (ValueError("a bug"), "failed", "run.internal"),
        (Cancelled(), "cancelled", ""),
        (Drained(), "queued", ""),
        (Lost("Killed"), "queued", ""),
    ],
)
def test_each_way_to_end_is_recorded(
    cast: Cast, run: Run, raised: Exception, state: str, code: str
) -> None:
    with executing(claimed()):
        raise raised
    after = now(cast, run)
    assert (after.state, after.failure_code) == (state, code)
    assert bool(after.failure_text) == bool(code)
    assert after.owner == ""


def test_a_drained_worker_gives_its_attempt_back_and_a_lost_one_does_not(
    cast: Cast, run: Run
) -> None:
    with executing(claimed()):
        raise Drained
    assert now(cast, run).attempts == 0
    with executing(claimed()):
        raise Lost("Killed")
    assert (now(cast, run).attempts, now(cast, run).epoch) == (1, 2)


def test_a_worker_that_is_told_to_exit_queues_its_run_first(cast: Cast, run: Run) -> None:
    with pytest.raises(SystemExit), executing(claimed()):
        raise SystemExit
    assert now(cast, run).state == "queued"


# -- the fence -------------------------------------------------------------------------------------


def test_a_zombie_publishes_nothing(cast: Cast, run: Run) -> None:
    with executing(claimed()) as zombie:
        expire(cast, run)
        assert reap() == 1
        newer = claimed()
        assert newer.epoch == 2
        with tenant_scope(cast.north), pytest.raises(Fenced):
            endings.hold(zombie.run)
        zombie.note(Progress("train", 7, 10, metrics={"loss": 1.0}))
        assert zombie.wish is Wish.FENCED
        succeed(zombie)
    after = now(cast, run)
    assert (after.state, after.epoch, after.step) == ("running", 2, 0)
    with tenant_scope(cast.north):
        assert not RunMetric.objects.exists()
        assert not Augmenter.objects.exists()


def test_a_zombie_that_beats_learns_that_it_is_one(cast: Cast, run: Run) -> None:
    with executing(claimed()) as zombie:
        zombie.beat()
        assert zombie.wish is Wish.NOTHING
        expire(cast, run)
        reap()
        zombie.beat()
        assert zombie.wish is Wish.FENCED
    assert now(cast, run).state == "queued"


def test_a_zombies_finish_leaves_no_row(cast: Cast, run: Run, tmp_path: Any) -> None:
    from calm_engine.digests import write_manifest  # noqa: PLC0415  beside its one use

    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    outcome = Outcome("augmenter", str(folder), write_manifest(folder))
    with executing(claimed()) as zombie:
        expire(cast, run)
        reap()
        actions.finish_augment(zombie.run, outcome)
    with tenant_scope(cast.north):
        assert not Augmenter.objects.exists()
    assert now(cast, run).state == "queued"


def test_a_claim_that_was_lost_before_it_began_goes_home(cast: Cast, run: Run) -> None:
    attempt = claimed()
    expire(cast, run)
    reap()
    with pytest.raises(Fenced), executing(attempt):
        pytest.fail("the body must not run")
    gpu.carry(attempt)
    assert now(cast, run).state == "queued"


# -- the reaper ------------------------------------------------------------------------------------


def test_a_lease_that_holds_is_left_alone(cast: Cast, run: Run) -> None:
    claimed()
    assert reap() == 0
    assert now(cast, run).state == "running"


def test_two_reapers_give_a_run_back_once(cast: Cast, run: Run) -> None:
    claimed()
    expire(cast, run)
    start = threading.Barrier(4)

    def try_it(_: int) -> int:
        try:
            start.wait()
            return reap()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(try_it, range(4))) == 1
    assert events(cast, run).count("requeued") == 1


def test_a_run_lost_twice_at_the_same_step_fails(cast: Cast, run: Run) -> None:
    for _ in range(2):
        with executing(claimed()) as job:
            job.note(Progress("train", 40, 100))
            raise Lost("Killed")
    after = now(cast, run)
    assert (after.state, after.failure_code) == ("failed", "run.same_step")
    assert "step 40" in after.failure_text


def test_a_run_is_not_tried_for_ever(cast: Cast, run: Run, settings: Any) -> None:
    settings.RUN_MAX_ATTEMPTS = 3
    for _ in range(3):
        claimed()
        expire(cast, run)
        reap()
    assert (now(cast, run).state, now(cast, run).failure_code) == ("failed", "run.attempts")


def test_a_lost_run_that_was_asked_to_stop_is_stopped(cast: Cast, run: Run) -> None:
    claimed()
    with tenant_scope(cast.north):
        wishes.ask_to_cancel(run, by=cast.ada)
    expire(cast, run)
    reap()
    assert now(cast, run).state == "cancelled"


# -- news ------------------------------------------------------------------------------------------


def test_numbers_told_again_after_a_resume_stand_once(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        for loss in (3.0, 2.0):
            job.follow(iter_of(Progress("train", 1, 9, metrics={"loss": loss}), Outcome(**WELL)))
        succeed(job)
    with tenant_scope(cast.north):
        assert list(RunMetric.objects.values_list("step", "name", "value")) == [(1, "loss", 2.0)]


def test_the_last_news_is_kept_although_it_came_within_the_second(cast: Cast, run: Run) -> None:
    steps = [Progress("train", n, 9, metrics={"loss": float(n)}) for n in range(1, 10)]
    with executing(claimed()) as job:
        job.follow(iter_of(*steps, Outcome(**WELL)))
        succeed(job)
    assert now(cast, run).step == 9
    with tenant_scope(cast.north):
        assert RunMetric.objects.count() == 9


def test_what_is_no_number_is_a_gap(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        job.note(Progress("train", 1, 9, metrics={"loss": float("nan"), "rate": 0.1}))
    with tenant_scope(cast.north):
        assert list(RunMetric.objects.values_list("name", flat=True)) == ["rate"]


def iter_of(*news: Progress | Outcome) -> Any:
    """The engine's generator: progress, and the outcome returned."""
    *steps, outcome = news
    yield from steps
    return outcome


# -- stopping --------------------------------------------------------------------------------------


def test_a_waiting_run_stops_at_once(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north):
        assert wishes.ask_to_cancel(run, by=cast.ada) == State.CANCELLED
    assert claim("gpu", "this worker") is None
    assert now(cast, run).state == "cancelled"


def test_a_running_run_hears_the_wish_at_its_next_beat(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        with tenant_scope(cast.north):
            assert wishes.ask_to_cancel(run, by=cast.ada) == State.RUNNING
        assert now(cast, run).is_stopping
        job.beat()
        assert job.wish is Wish.CANCEL
        raise Cancelled
    assert now(cast, run).state == "cancelled"


def test_a_finished_run_cannot_be_stopped(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        succeed(job)
    with tenant_scope(cast.north):
        assert wishes.ask_to_cancel(run, by=cast.ada) == State.SUCCEEDED
    assert now(cast, run).state == "succeeded"


def test_a_stopped_run_is_run_again_with_a_newer_epoch(cast: Cast, run: Run) -> None:
    with executing(claimed()):
        raise Cancelled
    with tenant_scope(cast.north):
        wishes.retry(run, by=cast.ada)
    assert claimed().epoch == 2
    with tenant_scope(cast.north), pytest.raises(InputError, match=r"run\.not_retryable"):
        wishes.retry(run, by=cast.ada)


# -- causes and their fixes ------------------------------------------------------------------------


def test_for_want_of_memory_the_batch_is_cut_and_the_run_goes_on(cast: Cast) -> None:
    with tenant_scope(cast.north):
        run = make_run(cast.ada, batch_size=16)
    for parts in (2, 4, 8, 16):
        with executing(claimed()):
            raise InternalError("memory.full", "Not enough.")
        after = now(cast, run)
        assert (after.state, after.changes) == ("queued", {"gradient_accumulation_steps": parts})
        assert after.asked["batch_size"] == 16
    with executing(claimed()):
        raise InternalError("memory.full", "Not enough.")
    after = now(cast, run)
    assert (after.state, after.cause) == ("failed", "memory")
    assert "one example at a time" in fix_for(after.cause, after.asked).text


def test_a_diverged_training_is_not_tried_again_without_a_person(cast: Cast, run: Run) -> None:
    with executing(claimed()):
        raise InternalError("train.nan", "No number.", step=4)
    after = now(cast, run)
    assert (after.state, after.cause, after.changes) == ("failed", "nan", {})
    with tenant_scope(cast.north):
        wishes.retry(run, by=cast.ada, with_fix=True)
    assert now(cast, run).asked["learning_rate"] == 5e-4


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (InputError("disk.full", "Full."), "disk"),
        (InputError("data.json", "No JSON."), "data"),
        (InternalError("run.crashed", "It broke."), "ours"),
        (ValueError("a bug"), "ours"),
    ],
)
def test_a_failure_says_whose_turn_it_is(
    cast: Cast, run: Run, raised: Exception, cause: str
) -> None:
    with executing(claimed()):
        raise raised
    after = now(cast, run)
    assert after.cause == cause
    assert fix_for(after.cause, after.asked).text


# -- pause, discard, repeat, branch ----------------------------------------------------------------


def test_a_paused_run_waits_until_it_may_go_on(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        with tenant_scope(cast.north):
            wishes.pause(run, by=cast.ada)
        assert now(cast, run).is_pausing
        job.beat()
        assert job.wish is Wish.PAUSE
        raise Paused
    after = now(cast, run)
    assert (after.state, after.is_paused, after.attempts) == ("queued", True, 0)
    assert claim("gpu", "this worker") is None
    with tenant_scope(cast.north):
        wishes.go_on(run, by=cast.ada)
    assert claimed().run_id == run.pk


def test_a_pause_that_is_taken_back_in_time_is_none(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        with tenant_scope(cast.north):
            wishes.pause(run, by=cast.ada)
        job.beat()
        with tenant_scope(cast.north):
            wishes.go_on(run, by=cast.ada)
        job.beat()
        assert job.wish is Wish.NOTHING
        succeed(job)
    assert now(cast, run).state == "succeeded"


def test_a_waiting_run_is_paused_at_once_and_cancelled_while_paused(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north):
        wishes.pause(run, by=cast.ada)
        wishes.pause(run, by=cast.ada)  # twice is once
        assert run.events.filter(kind="pause_asked").count() == 1
        assert wishes.ask_to_cancel(run, by=cast.ada) == State.CANCELLED
    assert now(cast, run).pause_requested_at is None


def test_a_run_is_repeated_exactly(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        succeed(job)
    with tenant_scope(cast.north):
        again = wishes.repeat(run, by=cast.ada)
    assert (again.spec, again.source_id, again.branch_step) == (run.spec, run.pk, None)


def saved(step: int, digest: str) -> dict[str, Any]:
    return {"step": step, "bytes": 4096, "digest": digest, "is_milestone": False}


def test_a_branch_goes_on_from_a_checkpoint_with_other_settings(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        job.keep_checkpoints([saved(10, "a" * 64), saved(20, "b" * 64)])
        raise Cancelled
    with tenant_scope(cast.north):
        branch = wishes.branch(run, 10, settings={"learning_rate": 1e-4}, by=cast.ada)
        with pytest.raises(InputError, match=r"run\.checkpoint"):
            wishes.branch(run, 15, settings={}, by=cast.ada)
        with pytest.raises(InputError, match=r"spec\.unknown"):
            wishes.branch(run, 10, settings={"output": "/elsewhere"}, by=cast.ada)
    assert (branch.source_id, branch.branch_step) == (run.pk, 10)
    assert branch.spec == run.spec | {"learning_rate": 1e-4}


def test_a_discarded_run_keeps_nothing_to_go_on_from(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        job.keep_checkpoints([saved(10, "a" * 64)])
        with tenant_scope(cast.north):
            wishes.ask_to_cancel(run, by=cast.ada, discard=True)
        raise Cancelled
    with tenant_scope(cast.north):
        assert not run.checkpoints.exists()
    assert now(cast, run).discard


# -- accounts --------------------------------------------------------------------------------------


def test_what_is_used_is_charged_and_a_clock_that_jumps_costs_a_lease_at_most(
    cast: Cast, run: Run
) -> None:
    began = time.monotonic()
    with executing(claimed()) as job:
        with tenant_scope(cast.north):
            Run.objects.update(heartbeat_at=Now() - timedelta(seconds=10))
        job.beat()
        assert 9 < now(cast, run).used_seconds < 11 + time.monotonic() - began
        with tenant_scope(cast.north):
            Run.objects.update(heartbeat_at=Now() - timedelta(days=2))
        job.beat()
        with tenant_scope(cast.north):
            Run.objects.update(heartbeat_at=Now() + timedelta(days=2))
        job.beat()
        succeed(job)
    used = now(cast, run).used_seconds
    assert used < 11 + claims.lease().total_seconds() + time.monotonic() - began
    with tenant_scope(cast.north):
        assert Share.objects.get().month_seconds == pytest.approx(used, abs=0.5)
