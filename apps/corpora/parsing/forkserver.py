"""A warm process that forks a confined child for each foreign file.

Loading the readers takes longer than reading most files, so it is done once, here; this process
itself never opens a foreign file, so each child begins as clean as the first. It has no network,
and neither have its children. One request is a line of JSON on standard input, {"folder", "wall"};
the answer is a line with how the child ended: its exit status, or the signal, negative. The child
has neither pipe, so that no file can answer in its name. Knows nothing of Django or of tenants.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import NoReturn

from apps.corpora.parsing.confinement import die_with, without_network
from apps.corpora.parsing.program import main as read_one

GENTLE = 5  # niceness: whoever waits for a page on this machine comes before files


def serve(parent: int) -> None:
    """Fork for each request until standard input ends; end with the process `parent`."""
    die_with(parent)
    os.nice(GENTLE)
    without_network()
    load_readers()
    gc.freeze()  # what is loaded stays shared with the children
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        how = ended(forked(Path(asked["folder"])), asked["wall"])
        print(how, flush=True)  # noqa: T201 - the line that is waited for


def load_readers() -> None:
    """Everything that children would load, each for itself. None of it starts a thread."""
    for name in ("charset_normalizer", "kreuzberg", "olefile", "puremagic", "zstandard"):
        __import__(name)


def forked(folder: Path) -> int:
    """The pid of a child that reads in this folder, in a process group of its own."""
    me = os.getpid()
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        os.chdir(folder)
        os.environ |= {"HOME": str(folder), "TMPDIR": str(folder)}
        silent = os.open(os.devnull, os.O_RDWR)
        heard = os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number, target in enumerate((silent, silent, heard)):
            os.dup2(target, number)
        os.closerange(3, 4096)
        end(read_one(me))
    except BaseException:  # noqa: BLE001 - whatever it is, it ends with this child
        sys.excepthook(*sys.exc_info())
        end(1)


def end(status: int) -> NoReturn:
    """Leave as a forked child may: without the clean-up that is its parent's."""
    sys.stderr.flush()
    os._exit(status)


def ended(pid: int, wall: int) -> int:
    """How the child ended; after `wall` seconds its whole group is killed, as -SIGXCPU."""
    child = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(child, select.POLLIN)
        is_late = not poll.poll(wall * 1000)
        if is_late:
            os.killpg(pid, signal.SIGKILL)
    finally:
        os.close(child)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return -signal.SIGXCPU if is_late else status
