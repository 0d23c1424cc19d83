"""Chat and training on one accelerator: what each policy lets them do, and never both at once."""

from __future__ import annotations

import threading
from datetime import time, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from apps.runs import sharing, slots
from apps.runs.claims import claim
from apps.runs.models import Run, Slot
from apps.runs.standing import Surroundings, standing
from apps.tenants.scope import tenant_scope
from tests.apps.runs.making import make_run
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)
GB = 10**9
HERE = "here/gpu0"


@pytest.fixture(autouse=True)
def run(cast: Cast) -> Run:
    slots.tell(HERE, memory_bytes=8 * GB)
    with tenant_scope(cast.north):
        made = make_run(cast.ada)
        Run.objects.update(device_bytes=5 * GB)
        return made


def taken() -> bool:
    return claim("gpu", HERE, memory=8 * GB) is not None


def said(cast: Cast, run: Run) -> tuple[str, str]:
    with tenant_scope(cast.north):
        run.refresh_from_db()
        told = standing(run, Surroundings.of(run))
        return told.word, told.reason


def in_hours(settings: Any, *, night: bool) -> None:
    """The policy `night`, at such a time of the day."""
    settings.ACCELERATOR_POLICY = "night"
    now = timezone.localtime()
    first, last = (now - timedelta(hours=1)).time(), (now + timedelta(hours=1)).time()
    settings.ACCELERATOR_NIGHT = (first, last) if night else (last, first)


def test_both_share_what_fits(cast: Cast, run: Run, settings: Any) -> None:
    settings.ACCELERATOR_POLICY = "share"
    assert sharing.take_for_serving(HERE, 0, more=4 * GB) == ""
    assert not taken()
    assert said(cast, run)[1] == "It does not fit beside the models that answer chats."
    assert sharing.why_serving_leaves(HERE) == "", "nobody is evicted"
    assert sharing.take_for_serving(HERE, 2 * GB) == "", "it holds less than was thought"
    assert taken()
    assert sharing.take_for_serving(HERE, 2 * GB, more=GB) == ""
    assert "does not fit beside" in sharing.take_for_serving(HERE, 3 * GB, more=GB)


def test_training_goes_first_where_chat_drains(cast: Cast, run: Run, settings: Any) -> None:
    settings.ACCELERATOR_POLICY = "drain"
    assert sharing.take_for_serving(HERE, 0, more=GB) == ""
    assert sharing.why_serving_leaves(HERE) == "", "nothing has asked"
    assert not taken(), "it waits until chat has let go"
    assert said(cast, run)[0] == "waiting for the accelerator"
    assert "has asked" in sharing.why_serving_leaves(HERE)
    sharing.let_go_of_serving(HERE)
    assert "has asked" in sharing.take_for_serving(HERE, 0, more=GB), "no race back in"
    assert taken()
    assert "A training works" in sharing.take_for_serving(HERE, 0, more=GB)
    with tenant_scope(cast.north):
        Run.objects.update(
            state="queued", lease_until=None, owner="", pause_requested_at="2026-01-01T00:00Z"
        )
    assert sharing.take_for_serving(HERE, 0, more=GB) == "", "it comes back by itself"


def test_by_day_chat_goes_first_and_by_night_training(cast: Cast, run: Run, settings: Any) -> None:
    in_hours(settings, night=False)
    assert sharing.take_for_serving(HERE, 0, more=GB) == ""
    assert not taken()
    assert said(cast, run) == (
        "waiting for the accelerator",
        "By day the accelerator answers chats.",
    )
    assert sharing.why_serving_leaves(HERE) == ""
    in_hours(settings, night=True)
    assert not taken()
    assert "has asked" in sharing.why_serving_leaves(HERE)
    sharing.let_go_of_serving(HERE)
    assert taken()
    assert "A training works" in sharing.take_for_serving(HERE, 0, more=GB)
    assert sharing.why_training_leaves(serving_asks=True) == ""
    in_hours(settings, night=False)
    assert "By day" in sharing.why_training_leaves(serving_asks=True)
    assert sharing.why_training_leaves(serving_asks=False) == "", "nobody wants the device"


def test_a_host_that_has_died_holds_nothing(run: Run, settings: Any) -> None:
    settings.ACCELERATOR_POLICY = "drain"
    assert sharing.take_for_serving(HERE, 0, more=GB) == ""
    Slot.objects.update(serving_until=timezone.now() - timedelta(seconds=1))
    assert taken()


def test_a_slot_that_nobody_told_of_has_nothing_to_share(run: Run) -> None:
    assert sharing.take_for_serving("elsewhere/gpu0", 0, more=GB) == ""
    sharing.let_go_of_serving("elsewhere/gpu0")
    assert claim("gpu", "elsewhere/gpu1") is not None


def test_both_never_take_an_exclusive_device_at_once(cast: Cast, run: Run, settings: Any) -> None:
    settings.ACCELERATOR_POLICY = "drain"
    for _ in range(12):
        got: list[str] = []
        gate = threading.Barrier(2)

        def train(gate: threading.Barrier = gate, got: list[str] = got) -> None:
            gate.wait()
            got += ["training"] if taken() else []
            connections.close_all()

        def serve(gate: threading.Barrier = gate, got: list[str] = got) -> None:
            gate.wait()
            got += [] if sharing.take_for_serving(HERE, 0, more=GB) else ["serving"]
            connections.close_all()

        both = [threading.Thread(target=train), threading.Thread(target=serve)]
        for each in both:
            each.start()
        for each in both:
            each.join()
        assert len(got) == 1, got
        sharing.let_go_of_serving(HERE)
        Slot.objects.update(training_asked_at=None)
        with tenant_scope(cast.north):
            Run.objects.update(state="queued", lease_until=None, owner="")


def test_the_night_may_pass_midnight(settings: Any) -> None:
    settings.ACCELERATOR_NIGHT = (time(20), time(6))
    noon = timezone.localtime().replace(hour=12)
    assert not sharing.is_night(noon)
    assert sharing.is_night(noon.replace(hour=23))
    assert sharing.is_night(noon.replace(hour=5))
