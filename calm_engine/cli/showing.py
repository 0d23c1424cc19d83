"""How the command shows a run and its result. Knows no verb and loads no torch.

Progress goes to standard error and results to standard output, so that both can be piped.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
import types
from collections.abc import Callable, Generator, Iterator
from typing import Any

from calm_engine.process import STOPPER
from calm_engine.specs import Outcome, Progress


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


def follow(work: Generator[Progress, None, Outcome], show: Callable[[Progress], None]) -> Outcome:
    """Drive a run to its end. Raises Cancelled when it was asked to stop and kept a checkpoint."""
    with _stoppable():
        while True:
            try:
                progress = next(work)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            show(progress)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """The first SIGINT or SIGTERM is a wish that the run hears, the second ends it at once."""

    def note(number: int, _frame: types.FrameType | None) -> None:
        if STOPPER.is_asked:
            raise KeyboardInterrupt
        STOPPER.ask()
        name = signal.Signals(number).name
        sys.stderr.write(f"\n{name}: stopping at the next step; once more stops at once.\n")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        STOPPER.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def progress_shown() -> Iterator[Callable[[Progress], None]]:
    """A way to show progress: bars on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield Lines().show
        return
    try:
        from rich.console import Console  # noqa: PLC0415 a nicety that may be absent
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
        from rich.progress import Progress as Bars  # noqa: PLC0415
    except ImportError:
        yield Lines().show
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        stages: dict[str, Any] = {}

        def show(progress: Progress) -> None:
            if progress.stage not in stages:
                stages[progress.stage] = bars.add_task(progress.stage, total=None, told="")
            bars.update(
                stages[progress.stage],
                completed=progress.step,
                total=progress.total or None,
                told=_told(progress),
            )

        yield show


class Lines:
    """Progress for logs: each new stage, and then at most one line in five seconds."""

    def __init__(self) -> None:
        self._stage, self._at = "", 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        is_last = progress.step == progress.total > 0
        if progress.stage == self._stage and now - self._at < 5.0 and not is_last:
            return
        self._stage, self._at = progress.stage, now
        count = f" {progress.step}/{progress.total}" if progress.total else ""
        sys.stderr.write(f"{progress.stage}{count} {_told(progress)}".rstrip() + "\n")


def _told(progress: Progress) -> str:
    figures = [f"{name} {value:.3g}" for name, value in list(progress.metrics.items())[:3]]
    left = [] if progress.eta_seconds is None else [f"{span(progress.eta_seconds)} left"]
    return ", ".join([*([progress.message] if progress.message else []), *figures, *left])


def report(outcome: Outcome, args: argparse.Namespace) -> None:
    if args.json:
        say(outcome.to_json())
        return
    say(f"{outcome.kind} ready: {outcome.folder}")
    say(f"digest {outcome.digest}")
    if "verdict" in outcome.facts:
        say(f"\n{outcome.facts['verdict']}\nThe card: {outcome.folder}/{outcome.facts['card']}\n")
    for name, value in sorted(outcome.metrics.items()):
        say(f"{name:<48} {_number(value)}")


def _number(value: float) -> str:
    """A count in full, anything else to four digits."""
    return f"{value:,.0f}" if float(value).is_integer() and value > 1 else f"{value:.4g}"


def span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return (
        f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    )


def size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
