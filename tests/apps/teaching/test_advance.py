"""A plan goes on by itself, one step at a time, and starts nothing twice."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.db.models.functions import Now

from apps.corpora import actions as corpora
from apps.corpora.models import Corpus, Right
from apps.registry.models import Augmenter
from apps.runs import claims, endings
from apps.runs.models import Run
from apps.runs.wishes import retry
from apps.teaching.actions import advance, go_on, left_behind, start_plan
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.registry.making import outcome
from tests.apps.runs.making import make_anchor, make_snapshot
from tests.cast import Cast


def make_plan(cast: Cast) -> Plan:
    return start_plan(make_snapshot(cast.ada), make_anchor(cast.ada), "Devices", cast.ada)


def done(run: Run, kind: str) -> Run:
    """As a worker leaves it when all went well; the files are somebody else's test."""
    from apps.registry.actions import publish_augmenter, publish_composition  # noqa: PLC0415

    attempt = claims.claim("gpu", "this worker")
    assert attempt is not None
    row = Run.objects.get(pk=attempt.run_id)
    assert row == run
    made, common = outcome(kind, str(run.pk)), {"name": run.name, "run_id": run.pk, "by": None}
    if row.kind == "augment":
        publish_augmenter(made, anchor=row.anchor, snapshots=[row.snapshot], **common)
    elif row.control == "none":
        parts = [row.augmenter] if row.augmenter else []
        publish_composition(
            made, anchor=row.anchor, augmenters=parts, snapshot=row.snapshot, **common
        )
    endings.succeed(row, made.to_dict())
    return row


def test_a_plan_walks_its_four_steps(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan = make_plan(cast)
        for _ in range(3):
            waiting = Run.objects.of_plan(plan.pk).get(state="queued")
            assert advance(plan) is None  # one step at a time
            done(waiting, waiting.kind)
            assert advance(plan) is not None
        steps = Run.objects.of_plan(plan.pk).values_list("kind", "control", "state")
        assert list(steps) == [
            ("augment", "none", "succeeded"),
            ("compose", "none", "succeeded"),
            ("compose", "random", "succeeded"),
            ("evaluate", "none", "queued"),
        ]
        last = Run.objects.of_plan(plan.pk).last()
        assert last is not None
        assert last.control_run is not None
        assert last.control_run.control == "random"


def test_a_plan_waits_for_its_failed_step_and_goes_on_after_the_retry(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan = make_plan(cast)
        run = Run.objects.get()
        Run.objects.filter(pk=run.pk).update(
            state="failed", failure_code="disk.full", finished_at=Now()
        )
        assert advance(plan) is None
        assert left_behind() == []
        retry(run, by=cast.ada)
        done(run, "augment")
        assert left_behind() == [plan]
        assert go_on(plan.pk) is not None
        assert left_behind() == []


def test_a_plan_of_somebody_who_lost_the_corpus_stops_and_says_why(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot = make_snapshot(cast.ada)
        grant = corpora.grant(snapshot.corpus, cast.bo, Right.CURATE, by=cast.ada)
        plan = start_plan(snapshot, make_anchor(cast.ada), "Devices", cast.bo)
        run = done(Run.objects.get(), "augment")
        corpora.revoke(grant, by=cast.ada)
        assert go_on(plan.pk) is None
        assert go_on(plan.pk) is None
        assert run.events.filter(kind="plan").count() == 1
        assert Augmenter.objects.exists()


def test_teaching_needs_the_right_to_curate(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot = make_snapshot(cast.ada)
        corpora.grant(Corpus.objects.get(), cast.bo, Right.READ, by=cast.ada)
        with pytest.raises(PermissionDenied):
            start_plan(snapshot, make_anchor(cast.ada), "Devices", cast.bo)
        assert not Plan.objects.exists()


def test_a_plan_without_examples_is_refused_before_an_hour_is_spent(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot = make_snapshot(cast.ada)
        snapshot.manifest = {"examples": []}
        with pytest.raises(InputError, match=r"snapshot\.examples"):
            start_plan(snapshot, make_anchor(cast.ada), "Devices", cast.ada)
        assert not Plan.objects.exists()


def test_two_starts_of_one_plan_are_one(cast: Cast) -> None:
    with tenant_scope(cast.north):
        first = make_plan(cast)
        twin = start_plan(first.snapshot, first.anchor, " Devices", cast.ada)
        other = start_plan(first.snapshot, first.anchor, "Others", cast.ada)
        assert twin == first != other
        assert Run.objects.count() == 2
        Run.objects.of_plan(first.pk).update(state="cancelled", finished_at=Now())
        assert start_plan(first.snapshot, first.anchor, "Devices", cast.ada) != first
