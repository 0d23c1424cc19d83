"""Bounds the child process before any parser is imported."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

DISK_FULL = 28  # our exit status when the scratch folder's disk is full: nothing can be written


def confine(limits: dict[str, int]) -> None:
    """Bound memory, time, open files and file size, and give up the network where we may.

    Called before any parser is imported. The parent-death signal ends us with the worker.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != limits["parent"]:  # it died before the line above
        os._exit(1)
    for flags in (0x40000000, 0x50000000):  # CLONE_NEWNET as root, else with CLONE_NEWUSER
        if libc.unshare(flags) == 0:
            break
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 5))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits["files"], limits["files"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["unpacked"], limits["unpacked"]))
