"""A Celery worker as the installation starts it, which can be told that its disk is full.

While a flag file stands, fsync says ENOSPC: in the worker, and in the children that train, which
load `sitecustomize` from a folder of ours. A file that is claimed and not read is soon another's.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

CUSTOM = """
import errno, os, pathlib
flag, real = pathlib.Path({flag!r}), os.fsync
def fsync(handle):
    if flag.exists():
        raise OSError(errno.ENOSPC, "No space left on device")
    real(handle)
os.fsync = fsync
"""


def shorten_claims(lease: float) -> None:
    from apps.corpora.actions import outcomes  # noqa: PLC0415  once Django is ready

    outcomes.LEASE = outcomes.LOST_AFTER = timedelta(seconds=lease)


def main(folder: Path, queues: str, lease: float) -> None:
    from celery.bin.celery import celery  # noqa: PLC0415  after the path is known

    from workers import processes  # noqa: PLC0415  as above

    custom = CUSTOM.format(flag=str(folder / "full"))
    (folder / "sitecustomize.py").write_text(custom)
    exec(custom, {})  # noqa: S102  our own few lines, as the children load them
    shorten_claims(lease)
    known = processes.environment

    def environment(place: processes.Place, threads: int) -> dict[str, str]:
        told = known(place, threads)
        return told | {"PYTHONPATH": os.pathsep.join([told["PYTHONPATH"], str(folder)])}

    processes.environment = environment
    words = ["-A", "counterpoint", "--quiet", "worker", "-Q", queues, "-c", "1"]
    words += ["--without-gossip", "--without-mingle", "-n", f"chaos{os.getpid()}@%h"]
    celery.main(args=words, prog_name="celery", standalone_mode=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
