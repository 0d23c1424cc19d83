"""What nobody should do and somebody will: each has a defined end, told on the page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models import ProtectedError
from django.db.models.functions import Now

from apps.corpora import manifests
from apps.runs import wishes
from apps.runs.claims import Claimed, claim
from apps.runs.endings import Fenced, reap
from apps.runs.execution import Wish, executing
from apps.runs.models import Run, RunMetric, Slot
from apps.tenants.scope import tenant_scope
from calm_engine.errors import Cancelled
from tests.apps.runs.making import make_run
from tests.cast import Cast
from workers import gpu
from workers.launch import told_error

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(cast: Cast) -> Run:
    with tenant_scope(cast.north):
        return make_run(cast.ada)


def now(cast: Cast, run: Run) -> Run:
    with tenant_scope(cast.north):
        return Run.objects.get(pk=run.pk)


def claimed() -> Claimed:
    attempt = claim("gpu", "here")
    assert attempt is not None
    return attempt


def test_a_corpus_under_a_run_cannot_be_deleted(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north), pytest.raises(ProtectedError):
        run.snapshot.corpus.delete()
    with tenant_scope(cast.north), pytest.raises(ProtectedError):
        run.snapshot.delete()


def test_a_text_that_is_gone_ends_the_run_with_its_cause(cast: Cast, run: Run) -> None:
    from counterpoint.storage import blobs  # noqa: PLC0415  beside its one use

    with tenant_scope(cast.north):
        for entry in manifests.entries(run.snapshot):
            blobs().delete("text", entry.training)
    gpu.carry(claimed())
    after = now(cast, run)
    assert (after.state, after.failure_code, after.cause) == ("failed", "blob.missing", "ours")
    page = cast.client(cast.ada).get(f"/runs/{run.pk}/").content.decode()
    assert "A fault of the product" in page


def test_cancelled_between_the_claim_and_the_start_it_does_not_begin(
    cast: Cast, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = claimed()
    with tenant_scope(cast.north):
        assert wishes.ask_to_cancel(run, by=cast.ada) == "running"
    monkeypatch.setitem(gpu.WORK, "augment", lambda _job: pytest.fail("it began"))
    gpu.carry(attempt)
    assert now(cast, run).state == "cancelled"


LATE = {"lease_until": Now() - timedelta(seconds=1)}
ASKED = "The worker has been asked to stop, and has not yet answered."


@pytest.mark.parametrize(
    ("is_claimed", "facts", "at_once"),
    [
        pytest.param(False, {}, "Stopped as asked", id="queued"),
        pytest.param(False, {"pause_requested_at": Now()}, "Stopped as asked", id="paused"),
        pytest.param(True, {}, ASKED, id="claimed and not begun"),
        pytest.param(True, {"heartbeat_at": Now(), "stage": "train"}, ASKED, id="running"),
        pytest.param(True, {"pause_requested_at": Now()}, ASKED, id="pausing"),
        pytest.param(True, LATE, ASKED, id="stuck"),
    ],
)
def test_each_state_is_left_when_somebody_asks_twice_and_the_page_says_so(
    cast: Cast, run: Run, is_claimed: bool, facts: dict[str, Any], at_once: str
) -> None:
    attempt = claimed() if is_claimed else None
    with tenant_scope(cast.north):
        Run.objects.update(**facts)
    client = cast.client(cast.ada)
    for _ in range(2):
        assert at_once in client.post(f"/runs/{run.pk}/stop", follow=True).content.decode()
    if attempt is not None and facts is LATE:
        assert reap() == 1  # nobody answers any more: the reaper does
    elif attempt is not None:
        gpu.carry(attempt)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert now(cast, run).state == "cancelled"
    assert "Stopped as asked" in page
    with tenant_scope(cast.north):
        assert run.events.filter(kind="cancelled").count() == 1
        assert claim("gpu", "here") is None


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_what_has_ended_is_not_cancelled_again(cast: Cast, run: Run, state: str) -> None:
    facts = {"succeeded": {"outcome": {}}, "failed": {"failure_code": "run.internal"}}
    with tenant_scope(cast.north):
        Run.objects.update(state=state, finished_at=Now(), **facts.get(state, {}))
        assert wishes.ask_to_cancel(run, by=cast.ada, discard=True) == state
    assert not now(cast, run).discard


def test_two_cancels_are_one(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        for _ in range(2):
            with tenant_scope(cast.north):
                wishes.ask_to_cancel(run, by=cast.ada)
        job.beat()
        assert job.wish is Wish.CANCEL
        raise Cancelled
    with tenant_scope(cast.north):
        assert run.events.filter(kind="cancelled").count() == 1


def test_two_starts_again_are_one(cast: Cast, run: Run) -> None:
    with executing(claimed()):
        raise Cancelled

    def again(_: int) -> bool:
        try:
            with tenant_scope(cast.north):
                wishes.retry(Run.objects.get(pk=run.pk), by=cast.ada)
        except Exception:  # noqa: BLE001  whichever way it loses
            return False
        else:
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(again, range(3))) == 1
    assert claim("gpu", "here") is not None
    assert claim("gpu", "here") is None


def test_a_spec_of_another_release_says_so_and_offers_a_new_start(cast: Cast, run: Run) -> None:
    with tenant_scope(cast.north):
        Run.objects.update(spec=run.spec | {"warp": 9})
    gpu.carry(claimed())
    after = now(cast, run)
    assert (after.state, after.failure_code, after.cause) == ("failed", "run.spec", "data")
    page = cast.client(cast.ada).get(f"/runs/{run.pk}/").content.decode()
    assert "another release" in page
    answer = cast.client(cast.ada).post(f"/runs/{run.pk}/repeat", follow=True)
    assert "warp" in answer.content.decode()
    with tenant_scope(cast.north):
        assert Run.objects.count() == 1


def test_a_worker_of_an_older_release_is_named_on_the_page(cast: Cast, run: Run) -> None:
    attempt = claimed()
    Slot.objects.create(name="here", release="0.0.9", memory_bytes=1, device="CPU")
    page = cast.client(cast.ada).get(f"/runs/{run.pk}/").content.decode()
    assert "another release than this page" in page
    assert attempt.epoch == 1


def test_a_clock_that_jumps_ahead_costs_an_attempt_and_no_work(cast: Cast, run: Run) -> None:
    with executing(claimed()) as job:
        with tenant_scope(cast.north):  # as one: the heartbeat cannot renew it in between
            Run.objects.update(lease_until=Now() - timedelta(days=1))
            assert reap() == 1
        job.beat()
        assert job.wish is Wish.FENCED
        raise Fenced
    assert now(cast, run).state == "queued"
    page = cast.client(cast.ada).get(f"/runs/{run.pk}/").content.decode()
    assert "The worker was lost: its lease ran out; it goes on from its last checkpoint" in page


def test_a_page_that_comes_back_is_told_what_it_missed(cast: Cast, run: Run) -> None:
    from apps.runs.streams import _rows_since  # noqa: PLC0415  beside its one use

    with tenant_scope(cast.north):
        for step in range(1, 6):
            RunMetric.objects.create(run=run, step=step, name="loss", value=float(step))
    missed = _rows_since(cast.north.pk, run.pk, 3)
    assert [row[0] for row in missed] == [3, 4, 5]


def test_two_repeats_are_one_while_the_first_waits(cast: Cast, run: Run) -> None:
    with executing(claimed()):
        raise Cancelled
    client = cast.client(cast.ada)
    first, second = (client.post(f"/runs/{run.pk}/repeat").headers["location"] for _ in range(2))
    assert first == second != f"/runs/{run.pk}/"
    with tenant_scope(cast.north):
        repeated = Run.objects.get(source=run)
        assert repeated.spec == Run.objects.get(pk=run.pk).spec


# What a training refuses before its first step, or stops at: the facts that the engine tells, and
# what its page then says to do.
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "documents.small": ({"tokens": 12}, "12 tokens", "Add documents"),
    "documents.shredded": (
        {"per_character": "2.9", "per_byte": "0.99", "most": "0.9"},
        "2.9 tokens for a character",
        "Choose an anchor whose tokenizer knows the language",
    ),
    "documents.repeated": ({"percent": "97"}, "97 % of them", "Remove the copies"),
    "augment.tokenizer": ({}, "another tokenizer than the anchor", "Choose a base that shares"),
    "disk.checkpoints": (
        {"needed": "9.1 GB", "free": "1.2 GB"},
        "9.1 GB are needed and 1.2 GB are free",
        "choose a smaller model",
    ),
    "memory.short": (
        {"needed": "9.1 GB", "free": "1.2 GB"},
        "needs 9.1 GB more memory and 1.2 GB are free",
        "Choose a smaller model, shorter blocks",
    ),
    "train.nan": ({"step": 40}, "at step 40", "a smaller learning rate"),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_a_training_refuses_is_read_on_its_page_and_what_was_before_is_kept(
    cast: Cast, code: str
) -> None:
    facts, why, mended = REFUSED[code]
    with tenant_scope(cast.north):
        # One row at a time: where memory lacks, smaller parts were tried already.
        run = make_run(cast.ada, batch_size=1)
        RunMetric.objects.create(run=run, step=30, name="loss", value=2.5)
        digest = "a" * 64
        run.checkpoints.create(step=30, epoch=1, bytes=9, digest=digest)
    attempt = claimed()
    told = {"code": code, "message": "a word of the engine", "facts": facts}
    with executing(attempt):
        raise told_error(told | {"fault": "internal" if code == "train.nan" else "input"})
    after = now(cast, run)
    assert (after.state, after.failure_code) == ("failed", code)
    page = cast.client(cast.ada).get(f"/runs/{run.pk}/").content.decode()
    assert why in page
    assert mended in page
    with tenant_scope(cast.north):
        assert run.metrics.count() == run.checkpoints.count() == 1
