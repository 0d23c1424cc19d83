"""Offers a process's figures on a port of its own, which no ingress leads to."""

from __future__ import annotations

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, multiprocess, start_http_server

from counterpoint.release import version
from counterpoint.watch import figures


def offer(*, state: bool = False) -> None:
    """Listen on METRICS_PORT; with `state`, also for what rows, broker and disk say. 0: nothing."""
    if not settings.METRICS_PORT:
        return
    figures.RELEASE.info({"version": version()})
    registry = REGISTRY
    if figures.FOLDER:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped there
    if state:
        from counterpoint.watch.state import State  # noqa: PLC0415  needs the apps

        registry.register(State())
    start_http_server(settings.METRICS_PORT, addr=settings.METRICS_ADDRESS, registry=registry)


def child_ended(pid: int) -> None:
    """A pool's process is gone: its gauges no longer count."""
    if figures.FOLDER:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # untyped there
