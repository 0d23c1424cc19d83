"""`bench_corpora`: what corpora cost at a company's size. Writes rows: for an empty home alone.

Prints a table for people and one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.corpora.actions import create_corpus
from apps.demo import benches
from apps.demo import corpora_measuring as measuring
from apps.tenants.scope import tenant_scope
from calm_engine.figures import Figure

FEW = 1_000


class Command(BaseCommand):
    help = "Measure lists, nearly equal texts and reading, as ratios in one run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--documents", type=int, default=1_000_000, help="simulated rows")
        parser.add_argument("--pairs", type=int, default=400, help="labelled pairs of texts")
        parser.add_argument(
            "--rivals", default="", help="a Python that has markitdown and unstructured"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        bench = benches.begin()
        tenant, by, count = bench.tenant, bench.by, options["documents"]
        figures: list[Figure] = []
        with tenant_scope(tenant):
            few, many, pairs = (create_corpus(name, by=by) for name in ("Few", "Many", "Pairs"))
        with measuring.filling(), tenant_scope(tenant):
            measuring.fill(few, FEW)
            measuring.fill(many, count)
        with tenant_scope(tenant):
            figures += measuring.placing(few, many, count)
            figures += measuring.found_pairs(pairs, options["pairs"])
        with tenant_scope(tenant):
            figures += measuring.pages(few, many, count, by)
        figures += measuring.readings(options["rivals"])
        benches.tell(figures, self.stdout)
