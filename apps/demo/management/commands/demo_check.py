"""`manage.py demo_check`: the whole road without a person, held to its figures."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.demo import figures
from apps.demo.management.commands.demo import demo_key
from apps.demo.road import Road
from apps.demo.seeds import kept_in
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

        parser.add_argument(
            "--keep",
            type=Path,
            help="folder for figures and card; a seed that stands there is not walked again",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        keep: Path | None = options["keep"]
        if keep and kept_in(keep, options["seed"]).exists():
            return
        began = time.monotonic()
        chosen = settings_of(options["preset"], rivals=options["rivals"])
        road = Road(seed=options["seed"], chosen=chosen, with_neighbour=options["rivals"])
        road.travel()
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        questions = figures.held_out(road)
        found: dict[str, float] = {"seed": road.seed}
        found |= figures.from_cells(road.report.cells)
        found |= figures.through_chat(road, questions)
        found |= figures.through_api(address, demo_key(road), questions)
        found["seconds"] = round(time.monotonic() - began)
        found["peak_rss_mb"] = figures.peak_memory_mb(road.home)
        card = ""
        if options["rivals"]:
            found |= figures.of_card(road.report)
            with tenant_scope(road.tenant):
                card = card_of(road.report)
            self.stdout.write(card)
        missed = figures.missed(found, with_rivals=options["rivals"])
        for words in missed:
            self.stderr.write(f"missed: {words}")
        self.stdout.write(json.dumps(found))
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            kept = kept_in(keep, options["seed"])
            kept.with_suffix(".md").write_text(card, encoding="utf-8")
            told = json.dumps({"figures": found, "missed": missed})
            kept.write_text(f"{told}\n", encoding="utf-8")
        if missed:
            raise CommandError(f"{len(missed)} of the demo's bars were missed.")
