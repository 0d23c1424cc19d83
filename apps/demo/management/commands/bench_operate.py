"""`bench_operate`: memory, cold start, and a backup while people work. For an empty home alone.

Prints a table for people and one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand

from apps.corpora.actions import create_corpus
from apps.corpora.models import Corpus
from apps.demo import benches, mixed, tiny_models
from apps.demo import operate_measuring as measuring
from apps.demo.delivering import Delivery
from apps.demo.visitor import Visitor
from apps.tenants.scope import tenant_scope
from calm_engine.figures import Figure

MODELS = tuple(enumerate(("first", "second", "third")))
QUIET = 45.0  # seconds of pages before the backup, and again after it
THINKS = 1.0  # seconds between ten files and the next, an answer of the chat and a question


class Command(BaseCommand):
    help = "Measure memory, cold start, and a backup that is taken while people work and restored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--documents", type=int, default=100_000)

    def handle(self, *_args: Any, **options: Any) -> None:
        bench = benches.begin()
        os.environ["BACKUP_KEY"] = base64.b64encode(secrets.token_bytes(32)).decode()
        with tenant_scope(bench.tenant):
            corpus, other = (create_corpus(name, by=bench.by) for name in ("Sheets", "Arriving"))
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        with Visitor(address) as sender, Visitor(address) as reader, Visitor(address) as asker:
            for each in (sender, reader, asker):
                each.sign_in(bench.by.email, bench.password)
            addresses = [corpus.get_absolute_url(), "/corpora/", "/"]
            for page in addresses:
                reader.page(page)
            figures = list(measuring.memory(psutil.Process(os.getppid())))
            figures += measuring.cold_start()
            fill(bench, corpus, options["documents"])
            at_work = AtWork(sender, asker, other.get_absolute_url())
            with tempfile.TemporaryDirectory() as folder:
                backups = Path(folder) / "backups"
                figures += backed_up(at_work, reader, addresses, backups)
                figures += measuring.restored(backups, Path(folder) / "restored")
        benches.tell(figures, self.stdout)


def fill(bench: benches.Bench, corpus: Corpus, documents: int) -> None:
    """So many documents, and models of which each is served."""
    with tenant_scope(bench.tenant):
        measuring.fill(corpus, documents)
        made = [tiny_models.published(name, by=bench.by, seed=at) for at, name in MODELS]
    for one in made:
        tiny_models.wait_until_served(bench.tenant, one)


@dataclass
class AtWork:
    """People who upload and chat until they are told to end.

    states   how each answer of the chat ended
    """

    sender: Visitor
    asker: Visitor
    page: str
    states: list[str] = field(default_factory=list)

    def send(self, ending: threading.Event) -> None:
        delivery = Delivery(self.sender, self.page)
        for number in count():
            delivery.send(mixed.files(10, seed=number, size=2_000))
            if ending.wait(THINKS):
                return

    def chat(self, ending: threading.Event) -> None:
        models = cycle(name for _, name in MODELS)
        while not ending.wait(THINKS):
            self.states.append(self.asker.ask("Where is it?", model=next(models)).state)


def backed_up(
    at_work: AtWork, reader: Visitor, addresses: list[str], backups: Path
) -> Iterator[Figure]:
    """Pages without and with a backup under way, uploads and a chat going on all the time."""
    with measuring.people(at_work.send, at_work.chat):
        quiet = without_a_backup(reader, addresses)
        began = time.monotonic()
        backup = measuring.command("backup", "--to", str(backups))
        busy = measuring.pages(reader, addresses, lambda: backup.poll() is not None)
        said = measuring.finished(backup)
        took = time.monotonic() - began
        quiet += without_a_backup(reader, addresses)  # what has grown meanwhile is no backup's work
    told = f"a backup of {took:.0f} s ({said.strip().splitlines()[-1]})"
    yield from measuring.beside(quiet, busy, told)
    yield measuring.chats(at_work.states)


def without_a_backup(reader: Visitor, addresses: list[str]) -> list[float]:
    began = time.monotonic()
    return measuring.pages(reader, addresses, lambda: time.monotonic() - began > QUIET)
