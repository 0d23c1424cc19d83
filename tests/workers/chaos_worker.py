"""A Celery worker as the installation starts it, whose children can be told that the disk is full.

Children load `sitecustomize` from a folder of ours: while the flag file stands, fsync says ENOSPC.
"""

from __future__ import annotations

import os
import sys
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


def main(folder: Path) -> None:
    from celery.bin.celery import celery  # noqa: PLC0415  after the path is known

    from workers import processes  # noqa: PLC0415  as above

    (folder / "sitecustomize.py").write_text(CUSTOM.format(flag=str(folder / "full")))
    known = processes.environment

    def environment(place: processes.Place, threads: int) -> dict[str, str]:
        told = known(place, threads)
        return told | {"PYTHONPATH": os.pathsep.join([told["PYTHONPATH"], str(folder)])}

    processes.environment = environment
    words = ["-A", "counterpoint", "--quiet", "worker", "-Q", "gpu", "-c", "1"]
    words += ["--without-gossip", "--without-mingle", "-n", f"chaos{os.getpid()}@%h"]
    celery.main(args=words, prog_name="celery", standalone_mode=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
