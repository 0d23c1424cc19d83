"""`bench_access`: what access costs at the size of a company. Writes rows: for an empty home alone.

Prints a table for people and one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.models import User
from apps.demo.crowd import CORPORA, MODELS, PEOPLE, Crowd
from apps.demo.measuring import Figure, acts_a_second, cost_of_row_security, use_in_milliseconds


class Command(BaseCommand):
    help = f"Measure access at {CORPORA} corpora, {PEOPLE} people and {MODELS} models."

    def handle(self, *_args: Any, **_options: Any) -> None:
        if User.objects.exists():
            raise CommandError("There are people here already: this bench wants an empty home.")
        crowd = Crowd.gathered()
        parts = (use_in_milliseconds, cost_of_row_security, acts_a_second)
        figures = [figure for part in parts for figure in part(crowd)]
        for each in figures:
            self.stdout.write(told(each))
        for each in figures:
            self.stdout.write(json.dumps(asdict(each)))
        if not all(each.ok for each in figures):
            raise CommandError("A bar was missed.")


def told(figure: Figure) -> str:
    mark = "ok" if figure.ok else "MISSED"
    return f"{figure.name:<44} {figure.value:>10.2f} {figure.unit:<8} bar {figure.bar:>8} {mark}"
