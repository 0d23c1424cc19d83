"""The warm processes of this one that fork a confined child for each file. Knows no file.

One is kept between files; who asks while it is busy gets another, which ends afterwards, so that
no file waits for one that is hard to read.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Isolated, it finds no code of ours by itself. Our root comes last, so that nothing in it can
# stand before the standard library: `platform/` has the name of one of its modules.
START = """
import sys
sys.path.append(sys.argv[1])
from apps.corpora.parsing.forkserver import serve
serve(int(sys.argv[2]))
"""
SURROUNDINGS = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}  # none of ours, and no secret
GONE = -signal.SIGKILL


class Forkserver:
    """One warm process (`parsing.forkserver`); it ends with this process, whatever ends it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        command = [sys.executable, "-I", "-X", "utf8", "-c", START, str(ROOT), str(self.owner)]
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
            command,
            cwd="/",
            env=SURROUNDINGS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self, folder: Path, wall: int) -> int:
        """How a child ended that read in `folder`, -SIGXCPU after `wall` seconds.

        GONE when it was killed from outside, or this server with it.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = json.dumps({"folder": str(folder.resolve()), "wall": wall}) + "\n"
        try:
            self.process.stdin.write(asked.encode())
            self.process.stdin.flush()
            return int(self.process.stdout.readline())
        except (OSError, ValueError):
            return GONE

    @property
    def is_ours(self) -> bool:
        """Whether this very process began it: one that we were forked from keeps its own."""
        return self.owner == os.getpid()

    @property
    def is_alive(self) -> bool:
        return self.is_ours and self.process.poll() is None

    def end(self) -> None:
        """End it, if it is ours to end, and close our pipes to it."""
        if self.is_ours:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()


_idle: list[Forkserver] = []


@atexit.register
def end_idle() -> None:
    """End what waits."""
    while _idle:
        _idle.pop().end()


@contextmanager
def borrowed() -> Iterator[Forkserver]:
    """The warm server of this process, or one for this time alone while that is busy."""
    server = _idle.pop() if _idle else Forkserver()
    if not server.is_alive:
        server.end()
        server = Forkserver()
    try:
        yield server
    except BaseException:
        server.end()
        raise
    if _idle:
        server.end()
    else:
        _idle.append(server)
