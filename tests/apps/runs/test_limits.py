"""Accelerator minutes: refused at the start, paused at the claim, shown to the person."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.accounts import quotas
from apps.accounts.models import Quota
from apps.runs import claims
from apps.runs.execution import Job, Wish
from apps.runs.models import Run, Share
from apps.tenants.models import Group, GroupMember
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.runs.making import make_run
from tests.cast import Cast

MINUTES = Quota.Kind.GPU_MINUTES


def took(run: Run, minutes: float, **more: object) -> None:
    Run.objects.filter(pk=run.pk).update(used_seconds=minutes * 60, **more)


def test_a_person_whose_minutes_are_used_up_starts_nothing_more(cast: Cast) -> None:
    with tenant_scope(cast.north):
        run = make_run(cast.ada)
        Quota.objects.create(kind=MINUTES, user=cast.ada, amount=10)
        took(run, 9)
        make_run(cast.ada, "Gauges")
        took(run, 10)
        with pytest.raises(InputError, match=r"quota\.used") as refused:
            make_run(cast.ada, "Valves")
        assert refused.value.facts["whom"] == "you"
        assert refused.value.facts["limit"] == "10 accelerator minutes a month"
        (mine,) = quotas.budgets(cast.ada, [MINUTES])
        assert (mine.used, mine.left) == (10, 0)
        assert 0 < mine.renews <= 31 * 86_400


def test_what_ended_in_an_earlier_month_and_other_peoples_runs_do_not_count(cast: Cast) -> None:
    with tenant_scope(cast.north):
        run = make_run(cast.ada)
        Quota.objects.create(kind=MINUTES, user=cast.ada, amount=10)
        before = quotas.month() - timedelta(days=1)
        took(run, 60, state="cancelled", finished_at=before, cancel_requested_at=before)
        took(make_run(cast.ada, "Gauges"), 60, created_by=cast.bo)
        assert quotas.refusal(cast.ada, MINUTES) is None


def test_a_group_shares_one_budget(cast: Cast) -> None:
    with tenant_scope(cast.north):
        group = Group.objects.create(name="Lab")
        for person in (cast.ada, cast.bo):
            GroupMember.objects.create(group=group, user=person)
        Quota.objects.create(kind=MINUTES, group=group, amount=10)
        took(make_run(cast.ada), 10)
        over = quotas.refusal(cast.bo, MINUTES)
        assert over is not None
        assert over.whom == "Lab"
        assert quotas.refusal(cast.otto, MINUTES) is None


def test_a_run_that_waited_while_the_minutes_went_is_paused(cast: Cast) -> None:
    with tenant_scope(cast.north):
        first, waits = make_run(cast.ada), make_run(cast.ada, "Gauges")
        Quota.objects.create(kind=MINUTES, amount=10)
        took(first, 10, state="cancelled", finished_at=timezone.now())
    attempt = claims.claim("gpu", "this worker")
    assert attempt is not None
    with tenant_scope(cast.north):
        assert Job(attempt, lambda: "").wish is Wish.PAUSE
        waits.refresh_from_db()
        assert waits.pause_requested_at is not None
        said = [event.text for event in waits.events.all()]
        assert (
            "The limit of 10 accelerator minutes a month is used up for everybody together" in said
        )


def test_what_the_site_allows_stands_beside_ones_own_limits(cast: Cast) -> None:
    call_command("share", "north", minutes="30", storage="7", verbosity=0)
    with tenant_scope(cast.north):
        Share.objects.update(month=timezone.localdate().replace(day=1), month_seconds=31 * 60)
        told = {each.kind: each for each in quotas.budgets(cast.bo)}
        assert (told[MINUTES].amount, told[MINUTES].used) == (30, 31)
        assert told[Quota.Kind.STORAGE].amount == 7
        make_run(cast.ada)  # it waits for the next month, as its page says
    page = cast.client(cast.bo).get("/accounts/usage/").content.decode()
    assert "30 accelerator minutes a month" in page
    assert "everybody together, set by the site" in page
    call_command("share", "north", storage="none", verbosity=0)
    call_command("share", "north", storage="site", verbosity=0)
