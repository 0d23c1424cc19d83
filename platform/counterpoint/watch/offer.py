"""Offers a process's figures on a port of its own, which no ingress leads to."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, multiprocess, start_http_server

from counterpoint.release import version
from counterpoint.watch import figures

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # set where a process counts through children of its own


def offer(*, state: bool = False) -> None:
    """Listen on METRICS_PORT; with `state`, also for what rows, broker and disk say. 0: nothing."""
    if not settings.METRICS_PORT:
        return
    figures.RELEASE.info({"version": version()})
    registry = REGISTRY
    if folder := os.environ.get(FOLDER):
        sweep(Path(folder))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped there
    if state:
        from counterpoint.watch.state import State  # noqa: PLC0415  needs the apps

        registry.register(State())
    start_http_server(settings.METRICS_PORT, addr=settings.METRICS_ADDRESS, registry=registry)


def sweep(folder: Path) -> None:
    """Forget what processes before us counted here: their figures would never move again."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        if not file.stem.endswith(f"_{os.getpid()}"):
            file.unlink(missing_ok=True)


def child_ended(pid: int) -> None:
    """A pool's process is gone: its gauges no longer count."""
    if os.environ.get(FOLDER):
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # untyped there
