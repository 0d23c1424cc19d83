"""`manage.py bench_corpora`: every figure of corpora with its bar; fails when one is missed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.test import Client

from apps.accounts.actions import invite, open_tenant
from apps.corpora import actions
from apps.corpora.bench import copies, pages, reading
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope
from calm_engine.bench.figures import show
from calm_engine.figures import Figure

FEW = 1_000
FEW_KEYS = 10_000


class Command(BaseCommand):
    help = "Measure lists, near copies and reading in a tenant of its own, made for it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rows", type=int, default=100_000, help="rows of the long list")
        parser.add_argument(
            "--keyed", type=int, default=50_000, help="documents with keys of near copies"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        self.stdout.write(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        if show(list(measured(options["rows"], options["keyed"]))):
            raise CommandError("A bar was missed.")


def measured(rows: int, keyed: int) -> Iterator[Figure]:
    slug = f"bench-{uuid4().hex[:8]}"
    tenant = open_tenant(slug, slug)
    ada = invite(tenant, f"{slug}@example.com", "Bench", Role.CURATOR, uuid4().hex)
    with tenant_scope(tenant):
        small = actions.create_corpus("Small", by=ada)
        large = actions.create_corpus("Large", by=ada)
        pages.fill(small, FEW)
        pages.fill(large, rows)
    client = Client()
    client.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    yield from pages.measure(tenant, client, small, large)
    with tenant_scope(tenant):
        pairs = actions.create_corpus("Pairs", by=ada)
        yield from copies.found(pairs)
        yield from copies.cost(small, FEW_KEYS, keyed)
    with tempfile.TemporaryDirectory(prefix="bench-corpora-") as folder:
        yield from reading.measure(Path(folder))
