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
from apps.teaching.presets import PRESETS


class Command(BaseCommand):
    help = (
        "Walk the road, ask through both doors, print one line of JSON; fails when a bar is missed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int, default=1, help="which made-up company (default 1)")
        parser.add_argument(
            "--preset", choices=PRESETS, default="standard", help="how long to learn"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        began = time.monotonic()
        road = Road(seed=options["seed"], preset=PRESETS[options["preset"]])
        road.travel()
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        questions = figures.held_out(road)
        found: dict[str, float] = {"seed": road.seed}
        found |= figures.from_cells(road.report.cells)
        found |= figures.through_chat(road, questions)
        found |= figures.through_api(address, demo_key(road), questions)
        found["seconds"] = round(time.monotonic() - began)
        found["peak_rss_mb"] = figures.peak_memory_mb(road.home)
        missed = figures.missed(found)
        for words in missed:
            self.stderr.write(f"missed: {words}")
        self.stdout.write(json.dumps(found))
        if missed:
            raise CommandError(f"{len(missed)} of the demo's bars were missed.")
