"""Counts tasks where they run, and offers the figures from each worker's main process."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import (
    beat_init,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_shutdown,
)
from django.conf import settings

from counterpoint import alive
from counterpoint.watch import figures
from counterpoint.watch.offer import child_ended, offer

_began: dict[str, float] = {}  # by the task's id; a pool's process carries one at a time


def begin(task_id: str, **_: Any) -> None:
    _began[task_id] = time.perf_counter()


def end(task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
    figures.TASKS.labels(task.name, (state or "unknown").lower()).inc()
    began = _began.pop(task_id, None)
    if began is not None:
        figures.TASK_SECONDS.labels(task.name).observe(time.perf_counter() - began)


def worker_begins(**_: Any) -> None:
    alive.keep(settings.ALIVE_FILE)
    offer()


def timer_begins(**_: Any) -> None:
    alive.keep(settings.ALIVE_FILE)  # its figures: workers.figures


def pool_process_ends(pid: int, **_: Any) -> None:
    child_ended(pid)


def connect() -> None:
    """Listen to Celery's signals; called once, where the Celery app is made."""
    task_prerun.connect(begin)
    task_postrun.connect(end)
    worker_init.connect(worker_begins)
    beat_init.connect(timer_begins)
    worker_process_shutdown.connect(pool_process_ends)
