"""Watches the product while many files arrive: pages, memory, and what became of each file."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import quantiles

import httpx
import psutil

from apps.corpora.models import Upload
from apps.demo.visitor import Visitor
from calm_engine.errors import InternalError
from calm_engine.figures import Figure

EVERY = 2.0  # seconds between two looks
FLAT = 1.15  # how much more memory the last third may hold than the second
SERVICES = {
    "uvicorn": "web",
    "ingest": "reader of files",
    "forkserver": "warm process of it",
    "postgres": "PostgreSQL",
    "valkey": "Valkey",
}


@dataclass
class Watch:
    """Asks for pages and samples memory in a thread of its own, between `begin` and `end`.

    pages   addresses that are asked for in turn
    of      the process whose children are the product
    """

    visitor: Visitor
    pages: list[str]
    of: psutil.Process
    seconds: list[float] = field(default_factory=list)
    failures: int = 0
    memory: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._done.set()
        assert self._thread is not None
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(EVERY):
            for page in self.pages:
                began = time.perf_counter()
                try:
                    self.visitor.page(page)
                except (httpx.HTTPError, InternalError):
                    self.failures += 1
                self.seconds.append(time.perf_counter() - began)
            for name, size in self._sizes().items():
                self.memory[name].append(size)

    def _sizes(self) -> dict[str, int]:
        """Private bytes of the largest process of each service; what is shared is no growth."""
        found: dict[str, int] = defaultdict(int)
        for process in self.of.children(recursive=True):
            with suppress(psutil.Error):
                words = " ".join(process.cmdline())
                name = next((told for word, told in SERVICES.items() if word in words), "")
                if name:
                    held = process.memory_info()
                    found[name] = max(found[name], held.rss - held.shared)
        return found

    def figures(self, told: str) -> Iterator[Figure]:
        """Pages while it ran, and how flat memory was."""
        p95 = quantiles(self.seconds, n=20)[-1] * 1000
        yield Figure("page_p95", p95, "ms", f"{len(self.seconds)} pages while {told}", 200)
        yield Figure("page_failures", self.failures, "pages", told, 0)
        for name, sizes in sorted(self.memory.items()):
            third = len(sizes) // 3
            if third:
                middle, last = max(sizes[third : 2 * third]), max(sizes[-third:])
                whom = f"{name}: {last >> 20} MB at the end, beside the middle"
                yield Figure("memory_growth", last / middle, "ratio", whom, FLAT)


def settled(upload: str, patience: float) -> Upload:
    """The upload once nothing of it is in progress, or as it is when patience ends."""
    deadline = time.monotonic() + patience
    while True:
        now: Upload = Upload.objects.get(pk=upload)
        if now.tally().in_progress == 0 or time.monotonic() > deadline:
            return now
        time.sleep(EVERY)


def accounted(upload: Upload, expected: dict[str, str]) -> Iterator[Figure]:
    """The outcome expected of each path beside what the upload says of it, and the equation."""
    came = Counter(upload.items.filter(parent__isnull=True).values_list("path", flat=True))
    said = dict(upload.items.values_list("path", "state"))
    told = f"{len(expected):,} files"
    lost = sum(name not in came for name in expected)
    twice = sum(count - 1 for count in came.values())
    # Of a file and its copy whichever is read first is stored: what counts is how many.
    counted = Counter(said[name] for name in expected if name in said)
    refused = {name for name, outcome in expected.items() if outcome == "rejected"}
    misjudged = refused ^ {name for name in expected if said.get(name) == "rejected"}
    wrong = (counted - Counter(expected.values())).total() + len(misjudged)
    tally = upload.tally()
    off = len(expected) - tally.stored - tally.duplicate - tally.rejected
    yield Figure("lost", lost, "files", told, 0)
    yield Figure("twice", twice, "files", told, 0)
    yield Figure("other_outcome", wrong, "files", told, 0)
    yield Figure("equation_off_by", off, "files", f"the upload's {tally.received:,}", 0)
