"""What a plan will need, said before it starts; and what then stands in its way."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models.functions import Now

from apps.runs.actions import start_augment
from apps.runs.models import Run, Share, Slot
from apps.runs.standing import Surroundings
from apps.teaching import planning
from apps.tenants.scope import tenant_scope
from tests.apps.runs.making import make_anchor, make_snapshot
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)
GB = 10**9


def rail(cast: Cast) -> str:
    return cast.client(cast.ada).get("/teach/").content.decode()


@pytest.fixture
def parents(cast: Cast) -> tuple[Any, Any]:
    with tenant_scope(cast.north):
        return make_snapshot(cast.ada), make_anchor(cast.ada)


def test_without_a_worker_nothing_is_promised(cast: Cast, parents: Any) -> None:
    text = rail(cast)
    assert "No worker listens" in text
    assert "Not known yet" in text


@pytest.mark.parametrize(("memory", "word"), [(64 * GB, "Fits"), (GB // 100, "Will not fit")])
def test_whether_it_fits_is_a_word_with_its_reason(
    cast: Cast, parents: Any, memory: int, word: str
) -> None:
    Slot.objects.create(name="here/gpu0", memory_bytes=memory, disk_free=10**12)
    text = rail(cast)
    assert word in text
    assert ("more memory than any machine" in text) == (word == "Will not fit")


def test_too_small_a_disk_stands_in_the_way(cast: Cast, parents: Any) -> None:
    Slot.objects.create(name="here/gpu0", memory_bytes=64 * GB, disk_free=1000)
    assert "too little room" in rail(cast)


def test_quota_and_quiet_hours_are_said_beforehand(cast: Cast, parents: Any) -> None:
    Slot.objects.create(name="here/gpu0", memory_bytes=64 * GB, disk_free=10**12)
    with tenant_scope(cast.north):
        Share.objects.create(minutes=90, quiet_from="00:00", quiet_until="23:59:59")
    text = rail(cast)
    assert "90 accelerator minutes left" in text
    assert "After the quiet hours" in text


def test_time_is_promised_only_when_every_step_has_been_seen_here(cast: Cast, parents: Any) -> None:
    snapshot, anchor = parents
    with tenant_scope(cast.north):
        run = start_augment(snapshot, anchor=anchor, by=cast.ada)
        Run.objects.filter(pk=run.pk).update(
            state="succeeded", outcome={}, finished_at=Now(), used_seconds=100.0
        )
        assert planning.forecast(snapshot, anchor, {}, Surroundings.look()).seconds is None


def test_what_is_certain_keeps_a_run_off_slots_that_are_too_small(cast: Cast, parents: Any) -> None:
    snapshot, anchor = parents
    with tenant_scope(cast.north):
        need = planning.need_of(planning.Kind.AUGMENT, snapshot, anchor, {})
    assert 0 < need.certain < need.likely
