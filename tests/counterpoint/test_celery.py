"""Waking workers: after commit, once, with an expiry, and never at the price of the request."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from django.db import transaction

from counterpoint.celery import app, queue_of, send
from tests.waiting import PATIENCE


@pytest.fixture
def broker() -> Iterator[redis.Redis]:
    """The queues, emptied before and after."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete("gpu", "ingest", "short")
        yield client
        client.delete("gpu", "ingest", "short")


def test_the_first_word_of_a_task_names_its_queue() -> None:
    names = ("ingestion.extract", "gpu.wake", "housekeeping.rows")
    assert [queue_of(name) for name in names] == ["ingest", "gpu", "short"]


@pytest.mark.django_db(transaction=True)
def test_a_message_leaves_after_commit_with_ids_and_an_expiry(broker: redis.Redis) -> None:
    with transaction.atomic():
        send("gpu.wake", "some-id")
        assert broker.llen("gpu") == 0
    assert broker.llen("gpu") == 1
    message = json.loads(broker.lpop("gpu"))
    assert message["headers"]["task"] == "gpu.wake"
    assert message["headers"]["expires"] is not None
    assert json.loads(base64.b64decode(message["body"]))[0] == ["some-id"]


@pytest.mark.django_db(transaction=True)
def test_what_was_rolled_back_wakes_nobody(broker: redis.Redis) -> None:
    with transaction.atomic():
        send("gpu.wake")
        transaction.set_rollback(True)
    assert broker.llen("gpu") == 0


@pytest.mark.django_db
def test_a_broker_that_is_away_costs_the_request_nothing() -> None:
    script = (
        "import django; django.setup()\n"
        "from counterpoint.celery import send\n"
        "send('gpu.wake'); print('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stdout.strip() == "went on"
    assert "celery.unsent" in done.stderr


def test_long_work_is_acknowledged_before_it_begins_and_fetched_singly() -> None:
    assert app.conf.task_acks_late is False
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_ignore_result is True
    assert app.conf.broker_transport_options["visibility_timeout"] == 3600
    assert app.conf.accept_content == ["json"]
