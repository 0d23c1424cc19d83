"""An upload of thousands of files while everything that takes part in it is killed, from a seed."""

from __future__ import annotations

import csv
import io
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from apps.demo import mixed
from apps.demo.delivering import Delivery
from apps.demo.visitor import Visitor
from calm_engine.errors import InternalError
from tests.product import PASSWORD, Product, running

FILES, KILLS, SEED = 5_000, 50, 1
SIZE = 2_000  # characters of a file: what is tried is their number
CURATOR = "ana@example.org"
# What is killed, by a word of its command line.
VICTIMS = {
    "web": "counterpoint.asgi",
    "worker": "-Q short,ingest",
    "reader": "parsing.forkserver",
    "valkey": "valkey-server",
    "postgres": "postgres -D",
}
BETWEEN = (3.0, 8.0)  # seconds between two kills
PATIENCE = 3_600.0


class Killer:
    """Kills something of the product every few seconds, as often as was asked."""

    def __init__(self, product: Product, seed: int, kills: int) -> None:
        self.product, self.left = product, kills
        self.chance = random.Random(seed)  # noqa: S311 - from a seed on purpose
        self.done: Counter[str] = Counter()
        self.ended = threading.Event()

    def __call__(self) -> None:
        while self.left and not self.ended.wait(self.chance.uniform(*BETWEEN)):
            who = self.chance.choice(list(VICTIMS))
            found = list(self.processes(VICTIMS[who]))
            if not found:
                continue  # it is being started again
            with suppress(psutil.Error):
                self.chance.choice(found).kill()
                self.done[who] += 1
                self.left -= 1

    def processes(self, word: str) -> Iterator[psutil.Process]:
        for each in psutil.Process(self.product.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if word in " ".join(each.cmdline()):
                    yield each


@pytest.mark.slow
def test_an_upload_of_thousands_survives_fifty_kills(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = list(mixed.files(FILES, seed=SEED, size=SIZE))
    with running(tmp_path_factory.mktemp("product")) as product:
        product.manage("open_tenant", "North", CURATOR, "--person", "Ana")
        with Visitor(product.address()) as ana:
            ana.sign_in(CURATOR, PASSWORD)
            opened = ana.post("/corpora/new/", {"name": "Catalogue", "sensitivity": "internal"})
            corpus = opened.url.path
            delivery = Delivery(ana, corpus, patience=PATIENCE)
            delivery.send(files[:1])  # before the trouble: the upload is there
            killer = Killer(product, SEED, KILLS)
            killing = threading.Thread(target=killer)
            killing.start()
            try:
                delivery.send(files[1:])
                killing.join(PATIENCE)
                outcomes = settled(ana, delivery)
            finally:
                killer.ended.set()
                killing.join()
    assert killer.left == 0, f"only {killer.done} were killed"
    paths = Counter(row["path"] for row in outcomes)
    assert set(paths) == {one.name for one in files}, "a file was lost"
    assert set(paths.values()) == {1}, "a file came twice"
    counted = Counter(row["outcome"] for row in outcomes)
    wanted = Counter(one.outcome for one in files)
    # A file at hand when its worker was killed three times is given up, and says so.
    given_up = Counter(row["outcome"] for row in outcomes if row["code"] == "extract.failed")
    assert counted["rejected"] == wanted["rejected"] + given_up["rejected"]
    assert given_up["rejected"] <= KILLS // 5
    assert counted.total() == FILES


def settled(ana: Visitor, delivery: Delivery) -> list[dict[str, str]]:
    """The outcome of each file, once none is in progress."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(httpx.HTTPError, InternalError):
            rows = list(csv.DictReader(io.StringIO(ana.page(f"{delivery.page}outcomes.csv"))))
            if rows and not {row["outcome"] for row in rows} & {"received", "extracting"}:
                return rows
        assert time.monotonic() < deadline, Counter(row["outcome"] for row in rows)
        time.sleep(2)
