"""What other processes need: a port of their own, and patience that ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

PAUSE = 0.02  # seconds between two looks


def wait_until(happens: Callable[[], object], seconds: float = 20.0) -> bool:
    """Whether it happens within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if happens():
            return True
        time.sleep(PAUSE)
    return False


def free_port() -> int:
    """A port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
