"""What other processes do takes a while: wait for it, and never longer than it may take."""

from __future__ import annotations

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
