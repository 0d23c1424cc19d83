"""Who works next, and what a waiting run is told: share, quota, quiet hours, reservation, room."""

from __future__ import annotations

import os
from datetime import datetime, time, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from apps.runs import queues
from apps.runs.claims import charge, claim, cost_of_claim
from apps.runs.expecting import Ahead
from apps.runs.models import Reservation, Run, Share, Slot
from apps.runs.standing import Surroundings, standing
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from tests.apps.runs.making import make_run
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)
GB = 10**9


def queue(cast: Cast, *, north: int, south: int) -> None:
    for number in range(max(north, south)):
        if number < north:
            with tenant_scope(cast.north):
                make_run(cast.ada, f"North {number}")
        if number < south:
            with tenant_scope(cast.south):
                make_run(cast.cy, f"South {number}")


def taken() -> Tenant | None:
    attempt = claim("gpu", "here/gpu0", memory=8 * GB)
    if attempt is None:
        return None
    with tenant_scope(attempt.tenant_id):
        Run.objects.filter(pk=attempt.run_id).update(
            state="cancelled", lease_until=None, owner="", finished_at=timezone.now()
        )
        charge(attempt.tenant_id, 100.0)
        return Tenant.objects.get(pk=attempt.tenant_id)


def set_share(tenant: Tenant, **facts: Any) -> None:
    with tenant_scope(tenant):
        Share.objects.update_or_create(tenant=tenant, defaults=facts)


def test_time_is_shared_by_weight(cast: Cast) -> None:
    set_share(cast.north, weight=3.0)
    queue(cast, north=8, south=8)
    order = [taken() for _ in range(8)]
    assert order.count(cast.north) == 6
    assert order.count(cast.south) == 2


def test_whoever_took_much_yesterday_waits_today_and_no_longer(cast: Cast) -> None:
    queue(cast, north=2, south=2)
    set_share(cast.north, spent=1000.0, spent_at=timezone.now())
    assert taken() == cast.south
    set_share(cast.north, spent=1000.0, spent_at=timezone.now() - timedelta(days=9))
    assert taken() == cast.north


def test_a_priority_orders_a_tenants_own_runs_alone(cast: Cast) -> None:
    queue(cast, north=1, south=2)
    with tenant_scope(cast.south):
        Run.objects.update(priority=-9)
    set_share(cast.south, spent=500.0, spent_at=timezone.now())
    assert taken() == cast.north


def test_a_used_up_quota_leaves_the_run_waiting_and_the_others_working(cast: Cast) -> None:
    month = timezone.localdate().replace(day=1)
    set_share(cast.north, minutes=10, month=month, month_seconds=600.0)
    queue(cast, north=1, south=1)
    assert [taken(), taken()] == [cast.south, None]
    set_share(cast.north, minutes=10, month=month - timedelta(days=20), month_seconds=600.0)
    assert taken() == cast.north


@pytest.mark.parametrize("reach", [1, 13])
def test_no_run_begins_in_the_quiet_hours(cast: Cast, reach: int) -> None:
    now = timezone.localtime()
    begin, end = now - timedelta(hours=reach), now + timedelta(hours=1)  # 13: over midnight as well
    set_share(cast.north, quiet_from=begin.time(), quiet_until=end.time())
    queue(cast, north=1, south=0)
    assert taken() is None
    set_share(cast.north, quiet_from=end.time(), quiet_until=begin.time())
    assert taken() == cast.north


def test_a_reserved_slot_takes_its_tenant_alone(cast: Cast) -> None:
    now = timezone.now()
    with tenant_scope(cast.south):
        Reservation.objects.create(
            slot="here/gpu0", starts_at=now, ends_at=now + timedelta(hours=1)
        )
    queue(cast, north=2, south=1)
    assert taken() == cast.south
    assert taken() is None
    assert claim("gpu", "here/gpu1") is not None


def test_a_run_that_needs_more_memory_is_left_to_a_larger_slot(cast: Cast) -> None:
    queue(cast, north=1, south=0)
    with tenant_scope(cast.north):
        Run.objects.update(device_bytes=16 * GB)
    assert taken() is None
    assert claim("gpu", "here/gpu1", memory=24 * GB) is not None


def test_a_claim_reads_the_same_however_many_wait(cast: Cast) -> None:
    queue(cast, north=1, south=1)
    analyse()  # statistics from before the rush: the plan must not lean on them
    few = pages_of_claim()
    crowd(cast, is_kept=False)
    crowd(cast, is_kept=True)
    assert pages_of_claim() <= few + 20, "pages; 600 rows lie on many more"


def crowd(cast: Cast, *, is_kept: bool) -> None:
    """Queue 300 runs for each tenant; those that are not kept leave dead rows behind."""
    for tenant in (cast.north, cast.south):
        with tenant_scope(tenant):
            first = Run.objects.earliest("created_at")
            Run.objects.bulk_create(copy_of(first) for _ in range(300))
            transaction.set_rollback(not is_kept)


def pages_of_claim() -> int:
    """The least of three: whoever walks over dead rows first marks them for those after."""
    return min(cost_of_claim("gpu", "here/gpu0")[1] for _ in range(3))


def analyse() -> None:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("ANALYZE runs_run, runs_share, tenants_tenant")


def copy_of(run: Run) -> Run:
    facts = {field.attname: getattr(run, field.attname) for field in Run._meta.concrete_fields}
    return Run(**facts | {"id": uuid4(), "plan": None})


def test_a_place_is_counted_over_all_tenants_in_one_walk(cast: Cast) -> None:
    queue(cast, north=2, south=2)
    with tenant_scope(cast.north):
        waiting = Run.objects.order_by("created_at")
        places = queues.look("gpu", waiting, slots=[], tenant_id=cast.north.pk).ahead
    assert sorted(ahead.runs for ahead in places.values()) == [0, 2]
    assert queues.look("gpu", [], slots=[], tenant_id=None) == queues.Queue()


# -- what is said ----------------------------------------------------------------------------------

NOON = timezone.make_aware(datetime(2026, 5, 5, 12))  # noqa: DTZ001  made aware here
SLOT = Slot(name="here/gpu0", seen_at=NOON, memory_bytes=8 * GB)
QUIET = Share(quiet_from=time(8), quiet_until=time(18))
SPENT = Share(minutes=10, month=NOON.date().replace(day=1), month_seconds=600.0)
FULL = Slot(name="here/gpu0", seen_at=NOON, memory_bytes=8 * GB, is_disk_low=True)
RUNNING: dict[str, Any] = {"state": "running", "heartbeat_at": NOON, "owner": "here/gpu0"}
RUNNING |= {"lease_until": NOON + timedelta(seconds=60)}
LATE = RUNNING | {"heartbeat_at": NOON - timedelta(seconds=60)}
OVER = LATE | {"lease_until": NOON - timedelta(seconds=1)}


@pytest.mark.parametrize(
    ("facts", "around", "word", "look"),
    [
        ({}, {}, "starved", "starved"),
        ({}, {"slots": [SLOT]}, "queued", "queued"),
        ({}, {"slots": [SLOT], "share": QUIET}, "waiting for its window", "window"),
        ({}, {"slots": [SLOT], "share": SPENT}, "waiting for quota", "window"),
        ({}, {"slots": [FULL]}, "waiting for disk", "window"),
        ({"device_bytes": 9 * GB}, {"slots": [SLOT]}, "does not fit", "starved"),
        ({}, {"slots": [SLOT], "reserved_until": [NOON]}, "waiting for its window", "window"),
        ({"pause_requested_at": NOON}, {"slots": [SLOT]}, "paused", "paused"),
        (RUNNING, {}, "running", "busy"),
        (LATE, {}, "silent", "warn"),
        (OVER, {}, "stuck", "stuck"),
        (RUNNING | {"pause_requested_at": NOON}, {}, "pausing", "leaving"),
        (RUNNING | {"cancel_requested_at": NOON}, {}, "stopping", "leaving"),
        ({"state": "cancelled", "discard": True}, {}, "discarded", "stopped"),
    ],
)
def test_different_ways_to_wait_have_different_words_and_looks(
    facts: dict[str, Any], around: dict[str, Any], word: str, look: str
) -> None:
    told = standing(Run(**facts), Surroundings(NOON, **around))
    assert (told.word, told.look) == (word, look)
    assert told.reason or look in ("queued", "busy", "stopped")


def test_a_place_in_the_queue_is_a_number() -> None:
    run = Run()
    told = standing(run, Surroundings(NOON, slots=[SLOT], ahead={run.pk: Ahead(3)}))
    assert (told.word, told.reason) == ("queued, place 4", "At most 3 runs are ahead.")


# -- the command -----------------------------------------------------------------------------------


def test_the_server_sets_a_share_and_refuses_what_makes_no_sense(cast: Cast, capsys: Any) -> None:
    call_command("share", "north", weight=2.0, minutes="600", quiet="22:00-06:00")
    assert "weight 2, minutes 600" in capsys.readouterr().out
    with tenant_scope(cast.north):
        assert Share.objects.get().quiet_from == time(22)
    for words in ({"weight": 0.0}, {"minutes": "many"}, {"quiet": "8-18"}, {"reserve": "none"}):
        with pytest.raises(CommandError):
            call_command("share", "north", **words)
    with pytest.raises(CommandError, match="no tenant"):
        call_command("share", "nowhere")
