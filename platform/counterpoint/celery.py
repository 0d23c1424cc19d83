"""The Celery app and `send`, the one place that puts a task on a queue. Knows no task's work.

The row is the truth and a message only a wake-up (see `docs/decisions/`): it is sent after commit,
without retries, and may be lost, late or repeated. Whoever sends also has a reconciler.
"""

from __future__ import annotations

import os
from functools import partial

import structlog
from celery import Celery
from celery.signals import beat_init, worker_init
from django.db import transaction
from kombu.exceptions import OperationalError

from calm_engine import traces
from counterpoint.watch import tasks as watched

log = structlog.get_logger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "counterpoint.settings")
app = Celery("counterpoint")
app.config_from_object("django.conf:settings", namespace="CELERY")

# The first word of a task's name says its queue; everything else is short.
QUEUES = {"ingestion": "ingest", "gpu": "gpu"}
# Seconds after which a message is worth nothing: by then the reconciler has sent another.
EXPIRES = {"gpu": 30, "ingest": 3600, "short": 300}


def refuse_a_dangerous_start(**_: object) -> None:
    """A worker that could see every tenant's rows does not start, like the web."""
    from counterpoint import checks  # noqa: PLC0415  needs the settings

    checks.refuse_a_dangerous_start()


worker_init.connect(refuse_a_dangerous_start)
beat_init.connect(refuse_a_dangerous_start)
watched.connect()


def queue_of(name: str) -> str:
    """The queue of a task, from the module prefix of its name."""
    return QUEUES.get(name.partition(".")[0], "short")


def send(name: str, *args: str) -> None:
    """Wake a worker for this task once the transaction has committed; ids only, never content."""
    transaction.on_commit(partial(_send_now, name, args))


def _send_now(name: str, args: tuple[str, ...]) -> None:
    queue = queue_of(name)
    try:
        with traces.span(f"send:{name}", kind="producer", counterpoint__queue=queue) as span:
            app.send_task(
                name,
                args=args,
                queue=queue,
                expires=EXPIRES[queue],
                retry=False,
                headers=span.heading() or None,
            )
    except OperationalError as error:
        # The act is committed; the reconciler wakes the worker when the broker is back.
        log.warning("celery.unsent", task=name, queue=queue, error=type(error).__name__)
