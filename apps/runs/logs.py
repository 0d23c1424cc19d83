"""The end of a run's own log, with a search. Knows where logs lie, and nothing of who may read.

The web process sees the run folders of its own machine, or of the volume it shares with workers;
where it sees none, that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from apps.runs.models import Run
from counterpoint.storage import run_folder_of

LINES = 200
BYTES = 256 * 1024  # from the end of the file


@dataclass(frozen=True)
class Tail:
    """The lines that are shown, newest last, and of which attempt."""

    lines: list[str]
    epoch: int
    search: str
    is_there: bool


def tail(run: Run, *, search: str) -> Tail:
    """The last lines of the newest attempt that said anything; those with `search`, if given."""
    for epoch in range(run.epoch, 0, -1):
        file = Path(run_folder_of(run.pk)) / f"child-{epoch}.log"
        if file.is_file() and file.stat().st_size:
            wanted = search.casefold()
            lines = [line for line in _end_of(file) if wanted in line.casefold()]
            return Tail(lines[-LINES:], epoch, search, is_there=True)
    return Tail([], run.epoch, search, is_there=False)


def _end_of(file: Path) -> list[str]:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - BYTES))
        return opened.read().decode(errors="replace").splitlines()
