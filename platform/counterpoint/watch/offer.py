"""Offers a process's figures on a port of its own, which no ingress leads to."""

from __future__ import annotations

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, multiprocess, start_http_server
from prometheus_client.registry import Collector

from counterpoint.release import version
from counterpoint.watch import figures


def offer(*further: Collector) -> None:
    """Listen on METRICS_PORT and tell what this process counts, and these. 0: nothing."""
    if not settings.METRICS_PORT:
        return
    figures.RELEASE.info({"version": version()})
    registry = REGISTRY
    if figures.FOLDER:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped there
    for each in further:
        registry.register(each)
    start_http_server(settings.METRICS_PORT, addr=settings.METRICS_ADDRESS, registry=registry)


def child_ended(pid: int) -> None:
    """A pool's process is gone: its gauges no longer count."""
    if figures.FOLDER:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # untyped there
