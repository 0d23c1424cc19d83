"""What the demo shows in a terminal: one line per stage that moves, with the time left.

On a terminal the line is rewritten; in a log it is written again every ten seconds.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

LOG_EVERY = 10.0  # seconds
WIDTH = 24


def duration(seconds: float) -> str:
    """'45 s', '3 min 20 s', '1 h 05 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Stage:
    """One stage of the road: its line while it runs, a tick and its time at the end."""

    def __init__(self, number: int, of: int, title: str, out: TextIO | None = None) -> None:
        self.head = f"[{number}/{of}] {title}"
        self.out = out or sys.stdout
        self.began = time.monotonic()
        self.written = 0.0

    def __enter__(self) -> Self:
        self._line("...")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        spent = duration(time.monotonic() - self.began)
        self._line(f"done in {spent}" if kind is None else f"stopped after {spent}", end="\n")

    def show(self, done: int, total: int, note: str = "", left: float | None = None) -> None:
        """Move the line: a bar, a note, the time left when it is known."""
        bar = ""
        if total:
            filled = min(WIDTH, WIDTH * done // total)
            bar = f"{'#' * filled}{'.' * (WIDTH - filled)} {done}/{total}  "
        ahead = f"  {duration(left)} left" if left is not None else ""
        if self.out.isatty() or time.monotonic() - self.written >= LOG_EVERY:
            self._line(f"{bar}{note}{ahead}")

    def _line(self, text: str, end: str = "") -> None:
        if self.out.isatty():
            self.out.write(f"\r\x1b[K{self.head}  {text}{end}")
        else:
            self.out.write(f"{self.head}  {text}\n")
        self.out.flush()
        self.written = time.monotonic()
