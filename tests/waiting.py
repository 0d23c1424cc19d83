"""What other processes need: a port of their own, and patience that ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

PAUSE = 0.02  # seconds between two looks
PATIENCE = 300.0  # seconds; a machine that is busy with other things starts processes slowly


def wait_until(happens: Callable[[], object], seconds: float = PATIENCE) -> bool:
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


@contextmanager
def meanwhile(
    happens: Callable[[], object], do: Callable[[], object], otherwise: Callable[[], object]
) -> Iterator[None]:
    """While the body works, do something from another thread as soon as something has happened.

    otherwise   what ends the body's work when that never comes, or fails; then the test fails here
    """
    from django.db import connections  # noqa: PLC0415  the engine's own tests know no Django

    def watch() -> None:
        try:
            assert wait_until(happens), "what the test waits for has not happened"
            do()
        except BaseException:
            otherwise()
            raise
        finally:
            connections.close_all()  # this thread's own

    with ThreadPoolExecutor(max_workers=1) as threads:
        doing = threads.submit(watch)
        yield
        doing.result()


class Starved:
    """How long this process was kept from the processor while the body ran, in seconds.

    A bar in seconds is a promise of the product, and no promise of a machine that does ten other
    things: what that took is added to the bar.
    """

    def __enter__(self) -> Starved:
        self.seconds = 0.0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(PAUSE)
            self.seconds += max(0.0, time.monotonic() - began - 2 * PAUSE)
