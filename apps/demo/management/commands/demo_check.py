"""`manage.py demo_check`: the whole road without a person, held to its figures."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.demo import figures
from apps.demo.management.commands.demo import demo_key
from apps.demo.road import Road
from apps.evaluation.items import card_of
from apps.teaching.presets import PRESETS, settings_of
from apps.tenants.scope import tenant_scope


class Command(BaseCommand):
    help = (
        "Walk the road, ask through both doors, print one line of JSON; fails when a bar is missed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int, default=1, help="which made-up company (default 1)")
        parser.add_argument(
            "--preset", choices=PRESETS, default="standard", help="how long to learn"
        )

        parser.add_argument(
            "--rivals",
            action="store_true",
            help="measure beside search and fine-tuning too, and print the whole report card",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        began = time.monotonic()
        chosen = settings_of(options["preset"], rivals=options["rivals"])
        road = Road(seed=options["seed"], chosen=chosen)
        road.travel()
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        questions = figures.held_out(road)
        found: dict[str, float] = {"seed": road.seed}
        found |= figures.from_cells(road.report.cells)
        found |= figures.through_chat(road, questions)
        found |= figures.through_api(address, demo_key(road), questions)
        found["seconds"] = round(time.monotonic() - began)
        found["peak_rss_mb"] = figures.peak_memory_mb(road.home)
        if options["rivals"]:
            found |= figures.of_card(road.report)
            with tenant_scope(road.tenant):
                self.stdout.write(card_of(road.report))
        missed = figures.missed(found, with_rivals=options["rivals"])
        for words in missed:
            self.stderr.write(f"missed: {words}")
        self.stdout.write(json.dumps(found))
        if missed:
            raise CommandError(f"{len(missed)} of the demo's bars were missed.")
