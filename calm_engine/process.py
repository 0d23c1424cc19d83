"""The process around a run: it dies with its parent, knows its cores, hears the wish to stop.

Knows signals and limits; knows no torch, no spec and no training.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import psutil

from calm_engine.errors import EngineError, InputError, InternalError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CGROUPS = Path("/sys/fs/cgroup")

# -- parents ---------------------------------------------------------------------------------------


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill us when our parent ends, then see that it has not ended already.

    parent_pid   the launcher, or whoever started the launcher: it must be found above us
    Raises SystemExit when it is not, because then nobody waits for our work any more.
    Elsewhere than on Linux only the second half happens: there is no such signal.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if parent_pid not in _ancestors():
        raise SystemExit(
            f"process {parent_pid}, which started this run, has ended; so does the run"
        )


def _ancestors() -> Iterator[int]:
    """Our parent, its parent and so on; only our parent where there is no /proc."""
    pid = os.getppid()
    while pid:
        yield pid
        try:
            told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        # The name before the last bracket may itself hold spaces and brackets.
        pid = int(told.rpartition(")")[2].split()[1])


def is_first() -> bool:
    """Whether this process speaks for all that train together: its launcher numbers them."""
    return os.environ.get("RANK", "0") == "0"


# -- cores -----------------------------------------------------------------------------------------


def threads(wanted: int | None = None) -> int:
    """Threads to compute with: what was wanted, else what the launcher gave us, else the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return wanted or (int(given) if given.isdigit() and int(given) else cores())


def cores(cgroups: Path = CGROUPS) -> int:
    """The cores this process may really use: by affinity and by its control group's quota."""
    is_linux = sys.platform == "linux"
    free = len(os.sched_getaffinity(0)) if is_linux else os.cpu_count() or 1
    quotas = [quota for folder in _groups(cgroups) if (quota := _quota(folder)) is not None]
    return max(1, int(min([free, *quotas])))


def _groups(root: Path) -> list[Path]:
    """The folders of our control group and of all groups around it; version 1's as well."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    inside = root / own
    around = [folder for folder in inside.parents if folder.is_relative_to(root)]
    return [inside, *around, root / "cpu"]


def _quota(folder: Path) -> float | None:
    """Cores that a control group allows; None where it sets no limit."""
    try:
        if (folder / "cpu.max").is_file():
            most, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            most = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
        return int(most) / int(period) if most not in ("max", "-1") else None
    except (OSError, ValueError):
        return None


# -- memory ----------------------------------------------------------------------------------------


def memory_limit(cgroups: Path = CGROUPS) -> int | None:
    """Bytes that our control groups still allow us; None where none of them sets a limit."""
    left = [free for folder in _groups(cgroups) if (free := _allowance(folder)) is not None]
    return min(left, default=None)


def memory_free(cgroups: Path = CGROUPS) -> int:
    """Bytes that we may still take: of the machine's own, and of what our control groups allow."""
    left = memory_limit(cgroups)
    free = int(psutil.virtual_memory().available)
    return free if left is None else min(free, left)


def most_memory(status: Path = Path("/proc/self/status")) -> int:
    """Bytes of memory that this process held at most, in its own program.

    `ru_maxrss` also counts what the program held that started this one, until it was replaced.
    """
    try:
        told = status.read_text(encoding="ascii")
        return next(
            int(line.split()[1]) << 10 for line in told.splitlines() if line.startswith("VmHWM:")
        )
    except (OSError, StopIteration):  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _allowance(folder: Path) -> int | None:
    """What a group may hold less what it holds; what is only cached counts as free."""
    try:
        most = (folder / "memory.max").read_text(encoding="ascii").strip()
        if most == "max":
            return None
        held = int((folder / "memory.current").read_text(encoding="ascii"))
        told = (folder / "memory.stat").read_text(encoding="ascii").split()
        cached = int(told[told.index("inactive_file") + 1])
        return max(0, int(most) - held + cached)
    except (OSError, ValueError):
        return None


# -- stopping --------------------------------------------------------------------------------------


class Stopper:
    """Remembers that somebody asked us to stop; loops look between two steps."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT are wishes. To be called in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: types.FrameType | None) -> None:
        self._asked.set()

    def ask(self) -> None:
        self._asked.set()

    def clear(self) -> None:
        self._asked.clear()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()


STOPPER = Stopper()  # one for the process, as signals are


def stop_requested() -> bool:
    """Whether to write a checkpoint now and raise `Cancelled`."""
    return STOPPER.is_asked


# -- faults ----------------------------------------------------------------------------------------


def as_engine_error(error: BaseException) -> EngineError:
    """Give a code to what went wrong, from the outside where the engine could not.

    The words of unknown errors are left out: they may quote a document.
    """
    if isinstance(error, EngineError):
        return error
    told = str(error).lower()
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or "no space left on device" in told:
        return InputError("disk.full", "the disk is full")
    # torch's own class says so as well, and is not worth loading torch for.
    is_out = "out of memory" in told or "can't allocate memory" in told
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out):
        return InternalError("memory.full", "there was not enough memory")
    return InternalError("run.crashed", "", error=type(error).__name__)
