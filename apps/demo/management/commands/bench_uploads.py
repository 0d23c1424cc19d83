"""`bench_uploads`: files by the ten thousand through the running product. For an empty home alone.

Prints a table for people and one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand

from apps.corpora.actions import create_corpus
from apps.demo import benches, mixed
from apps.demo import upload_measuring as measuring
from apps.demo.delivering import Delivery
from apps.demo.visitor import Visitor
from apps.tenants.scope import tenant_scope
from calm_engine.figures import Figure

FIRST = 100  # files after which there is an upload to look at


class Command(BaseCommand):
    help = "Send many mixed files to the running site; nothing may be lost, slow or growing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--files", type=int, default=100_000, help="how many (5 GB at 100,000)")
        parser.add_argument(
            "--patience", type=float, default=14_400, help="seconds to wait at the end"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        bench = benches.begin()
        with tenant_scope(bench.tenant):
            corpus = create_corpus("Many files", by=bench.by)
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        with Visitor(address) as sender, Visitor(address) as reader:
            for each in (sender, reader):
                each.sign_in(benches.EMAIL, bench.password)
            delivery = Delivery(sender, corpus.get_absolute_url())
            pages = [corpus.get_absolute_url(), "/corpora/", delivery.page]
            watch = measuring.Watch(reader, pages, psutil.Process(os.getppid()))
            sent = Sent()
            began = time.perf_counter()
            delivery.send(sent.noted(mixed.files(options["files"], seed=1), watch))
            took = time.perf_counter() - began
            with tenant_scope(bench.tenant):
                done = measuring.settled(delivery.upload, options["patience"])
                figures = list(measuring.accounted(done, sent.outcomes))
            seconds = time.perf_counter() - began
            watch.end()
        told = f"{len(sent.outcomes):,} files, {sent.size / 1e9:.2f} GB"
        figures += watch.figures(f"{told} arrive")
        figures += [
            Figure("sent", len(sent.outcomes) / took, "files a second", told),
            Figure("settled", len(sent.outcomes) / seconds, "files a second", told),
        ]
        benches.tell(figures, self.stdout)


@dataclass
class Sent:
    """What was sent: the outcome that each path must have, and bytes in all."""

    outcomes: dict[str, str] = field(default_factory=dict)
    size: int = 0

    def noted(self, files: Iterable[mixed.File], watch: measuring.Watch) -> Iterator[mixed.File]:
        """The same files; the watch begins once the first of them have made the upload."""
        for number, one in enumerate(files):
            if number == FIRST:
                watch.begin()
            self.outcomes[one.name] = one.outcome
            self.size += len(one.content)
            yield one
