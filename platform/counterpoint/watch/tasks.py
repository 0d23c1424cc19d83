"""Counts tasks where they run, and offers the figures from each worker's main process."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from celery.signals import (
    beat_init,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
)
from django.conf import settings

from calm_engine import traces
from counterpoint import alive
from counterpoint.watch import figures
from counterpoint.watch.offer import child_ended, offer

_began: dict[str, float] = {}  # by the task's id; a pool's process carries one at a time
_spans: dict[str, ExitStack] = {}  # as above


def begin(task_id: str, task: Any, **_: Any) -> None:
    _began[task_id] = time.perf_counter()
    parent = {traces.PARENT: str(task.request.get(traces.PARENT) or "")}
    name = str(task.name)
    _spans[task_id] = ExitStack()
    _spans[task_id].enter_context(
        traces.span(name, kind="consumer", parent=parent, counterpoint__task=name)
    )


def end(task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
    if (span := _spans.pop(task_id, None)) is not None:
        span.close()
    figures.TASKS.labels(task.name, (state or "unknown").lower()).inc()
    began = _began.pop(task_id, None)
    if began is not None:
        figures.TASK_SECONDS.labels(task.name).observe(time.perf_counter() - began)


def worker_begins(**_: Any) -> None:
    alive.keep(settings.ALIVE_FILE)
    offer()


def timer_begins(**_: Any) -> None:
    alive.keep(settings.ALIVE_FILE)  # its figures: workers.figures


def pool_process_begins(**_: Any) -> None:
    traces.begin("counterpoint-worker", settings.RELEASE)


def pool_process_ends(pid: int, **_: Any) -> None:
    traces.end()
    child_ended(pid)


def connect() -> None:
    """Listen to Celery's signals; called once, where the Celery app is made."""
    task_prerun.connect(begin)
    task_postrun.connect(end)
    worker_init.connect(worker_begins)
    beat_init.connect(timer_begins)
    worker_process_init.connect(pool_process_begins)
    worker_process_shutdown.connect(pool_process_ends)
