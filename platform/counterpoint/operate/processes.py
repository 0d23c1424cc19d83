"""The command line of every process of the product, once: services, units, Compose and chart."""

from __future__ import annotations

import sys
from pathlib import Path

WORKERS = {"short": ("short", "ingest"), "gpu": ("gpu",)}  # on one machine: name, queues
# An open stream would hold SIGTERM for ever: hence a limit.
GRACE_SECONDS = 3


def web(host: str, port: int, *, grace: int = GRACE_SECONDS) -> list[str]:
    """The site."""
    uvicorn = [sys.executable, "-m", "uvicorn", "counterpoint.asgi:application"]
    where = ["--host", host, "--port", str(port)]
    return [*uvicorn, *where, "--no-access-log", "--timeout-graceful-shutdown", str(grace)]


def worker(queues: tuple[str, ...] | list[str], concurrency: int) -> list[str]:
    """A Celery worker of these queues, named after the first of them."""
    quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    chosen = ["-Q", ",".join(queues), "-c", str(concurrency), "-n", f"{queues[0]}@%h"]
    return [*_celery(), "worker", *quiet, *chosen]


def timer(schedule: Path) -> list[str]:
    """The timer, which wakes housekeeping; exactly one of an installation."""
    return [*_celery(), "beat", "--schedule", str(schedule), "--pidfile="]


def host() -> list[str]:
    """The model host."""
    return [sys.executable, "-m", "workers.hosting"]


def everything(listen: str, port: int) -> list[str]:
    """All of it as children of one process, embedded engines included where no URL is given."""
    command = [sys.executable, "-m", "counterpoint.services", "--stay"]
    return [*command, "--host", listen, "--port", str(port)]


def _celery() -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "counterpoint", "--quiet"]
