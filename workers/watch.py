"""The watch in each worker's main process, and in beat: reap, wake, tell of the slot.

A thread and not a task, so that it works while the broker is down. It keeps no connection between
two rounds: the pool's processes are forked from this one.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import structlog
from celery.signals import beat_init, worker_ready, worker_shutdown
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from apps.runs import slots
from apps.runs.claims import is_waiting
from apps.runs.endings import reap
from counterpoint.celery import send
from workers import devices

log = structlog.get_logger(__name__)

ROUND_SECONDS = 10.0  # a run whose worker died waits for its lease and then at most this
_leaving = threading.Event()


def look_after_runs() -> None:
    """Give back the runs of lost workers, and wake a worker when something waits."""
    if count := reap():
        log.info("runs.reaped", count=count)
    if is_waiting("gpu"):
        send("gpu.wake")


def tell_of_slot() -> None:
    """Write down what this machine has: its device, and how much room its disk has."""
    device = devices.look()
    free, total = devices.disk(Path(settings.HOME))
    slots.tell(
        devices.slot_name(),
        queue="gpu",
        device=device.name,
        memory_bytes=device.memory_bytes,
        facts=device.facts,
        disk_free=free,
        disk_total=total,
        is_disk_low=is_disk_low(),
        release=settings.RELEASE,
    )


def is_disk_low() -> bool:
    """Whether runs must pause, because the disk of their folders is nearly full."""
    free, _ = devices.disk(Path(settings.HOME))
    return free < int(settings.RUN_DISK_RESERVE_BYTES)


def begin(*, has_slot: bool) -> threading.Thread:
    """Go round until the process leaves."""
    _leaving.clear()
    thread = threading.Thread(target=_rounds, args=(has_slot,), name="watch", daemon=True)
    thread.start()
    return thread


def _rounds(has_slot: bool) -> None:
    while True:
        try:
            look_after_runs()
            if has_slot:
                tell_of_slot()
        except (DatabaseError, InterfaceError) as error:
            log.warning("watch.database", error=type(error).__name__)
        except Exception:
            log.exception("watch.broke")  # the next round is another chance; leases go on
        finally:
            connections.close_all()
        if _leaving.wait(ROUND_SECONDS):
            return


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def watch_in_worker(sender: Any = None, **_: Any) -> None:
    """In the worker's main process, once it listens; a slot is a worker of the queue `gpu`."""
    queues = getattr(getattr(sender, "app", None), "amqp", None)
    begin(has_slot=queues is not None and "gpu" in queues.queues.consume_from)


@beat_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def watch_in_beat(**_: Any) -> None:
    begin(has_slot=False)


@worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def leave(**_: Any) -> None:
    _leaving.set()
