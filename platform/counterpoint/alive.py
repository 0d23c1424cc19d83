"""A sign of life for processes that answer no HTTP: a file touched while the process breathes.

It says that the process runs and its interpreter is not stuck, never that an engine answers: an
outage of the database or the broker must not restart a worker in the middle of a run.
"""

from __future__ import annotations

import threading
from pathlib import Path

EVERY_SECONDS = 10.0


def keep(file: str) -> None:
    """Touch this file every ten seconds, in a thread that ends with the process; "" means no."""
    if not file:
        return
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    threading.Thread(target=_touch, args=(path,), name="alive", daemon=True).start()


def _touch(path: Path) -> None:
    pause = threading.Event()
    while not pause.wait(EVERY_SECONDS):
        path.touch()
