"""`bench_pages`: the pages of a company of some size, on the server and in Chromium.

Beside the running site, in an empty home alone: `make bench-pages`. Prints a table for people and
one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.demo import benches
from apps.demo.chromium import MISSING, chromium
from apps.demo.company import DOCUMENTS, MESSAGES, RUNS, gathered
from apps.demo.measuring import analyse
from apps.demo.pages_measuring import addresses, pages
from apps.tenants.scope import tenant_scope
from calm_engine.figures import Figure

PAINTED = ("chat", "conversation", "home", "corpus", "run", "report_card")


class Command(BaseCommand):
    help = "Measure every page: the server's 95th percentile and queries, and Chromium's paints."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--share", type=float, default=1.0, help="of the full size; 0.01 is quick"
        )
        parser.add_argument("--no-browser", action="store_true", help="the server alone")

    def handle(self, *_args: Any, **options: Any) -> None:
        share = options["share"]
        if not 0 < share <= 1:
            raise CommandError("--share lies between 0 and 1.")
        if not (options["no_browser"] or chromium()):
            raise CommandError(MISSING)
        bench = benches.begin()
        with tenant_scope(bench.tenant):
            company = gathered(bench.tenant, bench.by, share=share)
            paths = addresses(company)
        analyse()
        told = ", ".join(
            f"{int(count * share):,} {name}"
            for count, name in ((DOCUMENTS, "documents"), (RUNS, "runs"), (MESSAGES, "messages"))
        )
        figures: list[Figure] = list(pages(company, bench.by, told))
        if not options["no_browser"]:
            # Only where it is wanted: a site has no browser among its packages.
            from apps.demo.painting import paints  # noqa: PLC0415

            address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
            chosen = {name: paths[name] for name in PAINTED}
            figures += paints(address, benches.EMAIL, bench.password, chosen)
        benches.tell(figures, self.stdout)
