"""Bounds what reads foreign files: its life, its network, its memory, time and files."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

PICTURE = "page.png"  # where the picture of a page is left, beside the answer
DISK_FULL = 28  # our exit status when the scratch folder's disk is full: nothing can be written


def die_with(parent: int) -> None:
    """End with the process that started us, `parent`, even if it ended before this line."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def without_network() -> None:
    """Give up the network, where the system lets us; for what we fork, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (0x40000000, 0x50000000):  # CLONE_NEWNET as root, else with CLONE_NEWUSER
        if libc.unshare(flags) == 0:
            return


def confine(limits: dict[str, int]) -> None:
    """Bound memory, time, open files and file size. Called before any file is opened."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 5))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits["files"], limits["files"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["unpacked"], limits["unpacked"]))
