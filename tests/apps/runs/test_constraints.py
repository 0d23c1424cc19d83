"""What the database refuses to hold about a run, whoever writes it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from tests.apps.runs.making import make_run
from tests.cast import Cast

LATER = timezone.now()
IMPOSSIBLE: dict[str, dict[str, Any]] = {
    # Several promises break at once here; the first in the database's order speaks.
    "run_state_known|run_finished": {"state": "sleeping"},
    "run_kind_known|run_inputs_fit_kind": {"kind": "dream"},
    "run_finished_iff_final": {"finished_at": LATER},
    "run_finished_iff_final ": {"state": "succeeded", "outcome": {}},
    "run_failure_iff_failed": {"failure_code": "no.reason"},
    "run_failure_iff_failed ": {"state": "failed", "finished_at": LATER},
    "run_lease_iff_running": {"lease_until": LATER},
    "run_lease_iff_running ": {"state": "running", "lease_until": LATER},
    "run_success_has_outcome": {"state": "succeeded", "finished_at": LATER},
    "run_inputs_fit_kind": {"kind": "compose"},
    "run_inputs_fit_kind ": {"kind": "evaluate"},
    "run_control_composes": {"control": "random"},
    "run_has_a_closure": {"closure": []},
}


@pytest.mark.parametrize("constraint", IMPOSSIBLE)
def test_an_impossible_run_cannot_be_written(cast: Cast, constraint: str) -> None:
    with tenant_scope(cast.north):
        run = make_run(cast.ada)
        with pytest.raises(IntegrityError, match=constraint.strip()), transaction.atomic():
            Run.objects.filter(pk=run.pk).update(**IMPOSSIBLE[constraint])


def test_a_plan_has_each_step_once(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan = uuid4()
        one, two = make_run(cast.ada, "One"), make_run(cast.ada, "Two")
        Run.objects.filter(pk=one.pk).update(plan=plan)
        with pytest.raises(IntegrityError, match="run_once_per_plan_step"), transaction.atomic():
            Run.objects.filter(pk=two.pk).update(plan=plan)


def test_a_run_of_another_tenants_snapshot_cannot_be_written(cast: Cast) -> None:
    with tenant_scope(cast.south):
        theirs = make_run(cast.cy)
    with tenant_scope(cast.north):
        ours = make_run(cast.ada)
        Run.objects.filter(pk=ours.pk).update(snapshot_id=theirs.snapshot_id)
        with (
            connection.cursor() as cursor,
            pytest.raises(IntegrityError, match="same"),
            transaction.atomic(),
        ):
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # else the commit would say it
        Run.objects.filter(pk=ours.pk).update(snapshot_id=ours.snapshot_id)
