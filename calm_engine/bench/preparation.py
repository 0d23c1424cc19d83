"""Text to packed shards: how fast, how well two workers share it, and whether memory stays flat.

The text is the standard library's own source, as long as it lasts and then over again: real words
that are on every machine. Each measurement is a process of its own, so that its largest memory is
its own. Speed is told by the processor's time, which other work on the machine does not change; the
gain of a second worker can only be told by the clock, so measure it where two cores are free.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from calm_engine.bench.apart import in_a_process
from calm_engine.bench.figures import ratio
from calm_engine.figures import Figure
from calm_engine.preparing import Preparation, prepare_shards
from calm_engine.process import most_memory

MEGABYTE = 1_000_000
SMALLEST = 10  # megabytes of text, with whose memory that of larger corpora is compared
SHARED = 100  # megabytes that one worker and two are timed on: a second one takes a second to start
ROUNDS = 3
BLOCK = 400


def measure(anchor: Path, scratch: Path, *, most: int) -> Iterator[Figure]:
    """Megabytes a core-minute, the gain of a second worker, and memory by size of corpus.

    most   megabytes of the largest corpus
    """
    told = {}
    sizes = sorted({min(SMALLEST, max(1, most // 3)), max(1, 3 * most // 10), most})
    for size in sizes:
        told[size] = _apart(anchor, _corpus(scratch, size), workers=1)
        sys.stderr.write(f"{size} MB: {told[size]}\n")
    speed = most / (told[most]["processor"] / 60)
    yield Figure("preparation.speed", speed, "MB/core-min", f"{most} MB of text", 20, True)
    for size in sizes:
        memory = told[size]["memory"] / MEGABYTE
        yield Figure(f"preparation.memory_{size}", memory, "MB", f"{size} MB of text")
    growth = told[most]["memory"] / told[sizes[0]]["memory"]
    against = f"{most} MB of text to {sizes[0]} MB"
    yield Figure("preparation.memory_growth", growth, "ratio", against, 1.1)
    size = min(SHARED, most)
    shared = _corpus(scratch, size)
    pairs = [
        [_apart(anchor, shared, workers=workers)["clock"] for workers in (1, 2)]
        for _ in range(ROUNDS)
    ]
    gain = ratio([one for one, _ in pairs], [two for _, two in pairs])
    yield Figure("preparation.two_workers", gain, "ratio", f"one worker, {size} MB", 1.8, True)


def _corpus(scratch: Path, size: int) -> Path:
    """JSON lines that hold so many megabytes of text."""
    path = scratch / f"text-{size}.jsonl"
    if path.is_file():
        return path
    left = size * MEGABYTE
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    with path.open("w", encoding="utf-8") as file:
        for number, source in enumerate(cycle(sources)):
            text = source.read_text(encoding="utf-8", errors="replace")[:left]
            row = {"digest": f"d{number}", "title": source.stem, "text": text}
            file.write(json.dumps(row) + "\n")
            left -= len(text)
            if left <= 0:
                return path
    return path


def _apart(anchor: Path, corpus: Path, *, workers: int) -> dict[str, float]:
    return in_a_process("calm_engine.bench.preparation", anchor, corpus, workers)


def one_run(anchor: str, corpus: str, workers: int) -> dict[str, float]:
    """Seconds by the clock and of all processors, and the largest memory of this one in bytes."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory(prefix="calm-bench-") as scratch:
        before = sum(map(_processor, kinds))
        began = time.monotonic()
        asked = Preparation((corpus,), anchor, BLOCK)
        for _ in prepare_shards(asked, Path(scratch) / "shards", workers=workers):
            pass
        return {
            "clock": time.monotonic() - began,
            "processor": sum(map(_processor, kinds)) - before,
            "memory": float(most_memory()),
        }


def _processor(kind: int) -> float:
    used = resource.getrusage(kind)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(one_run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
