"""Runs a command where the network is a loopback and nothing else: `python tests/alone.py COMMAND`.

A network namespace of its own (Linux): no wall that a rule could open, no road at all. Root makes
one by itself; others with a user namespace, where the machine lets them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

NEW_USER, NEW_NET = 0x10000000, 0x40000000  # sched.h: CLONE_NEWUSER, CLONE_NEWNET
SET_FLAGS, UP = 0x8914, 0x1  # sockios.h, if.h: SIOCSIFFLAGS, IFF_UP
OUTSIDE = ("192.0.2.1", 443)  # of RFC 5737: nobody's


def leave_the_network() -> None:
    """From here on this process and its children have a loopback of their own. Raises OSError."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NET if user == 0 else NEW_NET | NEW_USER) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace may be made here")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", b"lo", UP))


def prove_it() -> None:
    """Nothing but the loopback is there, and no road leads out. Raises RuntimeError."""
    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        raise RuntimeError(f"there is more than a loopback: {names}")
    with socket.socket() as probe:
        if (told := probe.connect_ex(OUTSIDE)) != errno.ENETUNREACH:
            raise RuntimeError(f"an address outside was tried: {os.strerror(told)}")


if __name__ == "__main__":
    leave_the_network()
    prove_it()
    sys.stderr.write("alone: nothing but a loopback\n")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  the command that was asked for
