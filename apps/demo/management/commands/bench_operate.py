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
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.accounts.actions import invite, open_tenant
from apps.accounts.models import User
from apps.corpora.actions import create_corpus
from apps.demo import mixed
from apps.demo import operate_measuring as measuring
from apps.demo.delivering import Delivery
from apps.demo.visitor import Visitor
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope
from calm_engine.figures import Figure, table

EMAIL = "bench@bench.example"
QUIET = 20.0  # seconds of pages before the backup


class Command(BaseCommand):
    help = "Measure memory, cold start, and a backup that is taken while people work and restored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--documents", type=int, default=100_000)

    def handle(self, *_args: Any, **options: Any) -> None:
        if User.objects.exists():
            raise CommandError("There are people here already: this bench wants an empty home.")
        os.environ["BACKUP_KEY"] = base64.b64encode(secrets.token_bytes(32)).decode()
        tenant, password = open_tenant("Bench", "bench"), token_urlsafe()
        by = invite(tenant, EMAIL, "Bench", Role.CURATOR, password)
        with tenant_scope(tenant):
            corpus, other = (create_corpus(name, by=by) for name in ("Many sheets", "Arriving"))
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        with Visitor(address) as sender, Visitor(address) as reader:
            for each in (sender, reader):
                each.sign_in(EMAIL, password)
            addresses = [corpus.get_absolute_url(), "/corpora/", "/"]
            for page in addresses:
                reader.page(page)
            figures = list(measuring.memory(psutil.Process(os.getppid())))
            figures += measuring.cold_start()
            with tenant_scope(tenant):
                measuring.fill(corpus, options["documents"])
            with tempfile.TemporaryDirectory() as folder:
                backups = Path(folder) / "backups"
                figures += self.backed_up(
                    sender, reader, other.get_absolute_url(), addresses, backups
                )
                figures += measuring.restored(backups, Path(folder) / "restored")
        self.stdout.write(table(figures))
        if not all(each.is_met for each in figures):
            raise CommandError("A bar was missed.")

    def backed_up(
        self, sender: Visitor, reader: Visitor, page: str, addresses: list[str], backups: Path
    ) -> list[Figure]:
        """Pages without and with a backup under way, uploads going on all the time."""

        def sending(ending: threading.Event) -> None:
            delivery = Delivery(sender, page)
            for number in range(1_000_000):
                if ending.is_set():
                    return
                delivery.send(mixed.files(10, seed=number, size=2_000))

        with measuring.people(sending):
            began = time.monotonic()
            quiet = measuring.pages(reader, addresses, lambda: time.monotonic() - began > QUIET)
            began = time.monotonic()
            backup = measuring.command("backup", "--to", str(backups))
            busy = measuring.pages(reader, addresses, lambda: backup.poll() is not None)
            said = measuring.finished(backup)
        took = time.monotonic() - began
        told = f"a backup of {took:.0f} s ({said.strip().splitlines()[-1]})"
        return list(measuring.beside(quiet, busy, told))
