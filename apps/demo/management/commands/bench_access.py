"""`bench_access`: what access costs at the size of a company. Writes rows: for an empty home alone.

Prints a table for people and one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apps.demo import benches
from apps.demo.crowd import CORPORA, MODELS, PEOPLE, Crowd
from apps.demo.measuring import acts_a_second, cost_of_row_security, use_in_milliseconds


class Command(BaseCommand):
    help = f"Measure access at {CORPORA} corpora, {PEOPLE} people and {MODELS} models."

    def handle(self, *_args: Any, **_options: Any) -> None:
        benches.require_empty_home()
        crowd = Crowd.gathered()
        parts = (use_in_milliseconds, cost_of_row_security, acts_a_second)
        benches.tell([figure for part in parts for figure in part(crowd)], self.stdout)
