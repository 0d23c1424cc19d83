"""`soak`: a tiny model at capacity for an hour, its clients leaving and its hosts killed.

For an empty home alone. Prints a table and one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand

from apps.accounts.actions import invite, issue_key
from apps.demo import benches, soaking, tiny_models
from apps.demo.visitor import Visitor
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope
from counterpoint.embedded.children import GENTLE

MODEL = "tiny"


class Command(BaseCommand):
    help = "Ask more of a tiny model than it can take, for long, and kill its processes meanwhile."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--minutes", type=float, default=60.0)
        parser.add_argument("--programs", type=int, default=56, help="16 answer, 32 of one wait")
        parser.add_argument("--people", type=int, default=4)

    def handle(self, *_args: Any, **options: Any) -> None:
        os.nice(GENTLE)  # its programs and people sit elsewhere, and take no core from the site
        bench = benches.begin()
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        bench.tenant.settings = {"api_requests_per_minute": 100_000}  # the model is to refuse
        bench.tenant.save()
        readers = [
            invite(bench.tenant, f"p{at}@bench.example", f"P {at}", Role.EMPLOYEE, bench.password)
            for at in range(options["people"])
        ]
        with tenant_scope(bench.tenant):
            made = tiny_models.published(MODEL, by=bench.by, readers=readers)
        tiny_models.wait_until_served(bench.tenant, made)
        _, key = issue_key(bench.by, bench.tenant, "soak")
        tally, minutes = soaking.Tally(), options["minutes"]
        watch = soaking.Watch(psutil.Process(os.getppid()))
        program = soaking.Program(address, key, MODEL, tally)
        with ExitStack() as stack:
            visitors = [stack.enter_context(Visitor(address)) for _ in readers]
            for visitor, reader in zip(visitors, readers, strict=True):
                visitor.sign_in(reader.email, bench.password)
            people = [soaking.Person(visitor, MODEL, tally) for visitor in visitors]
            programs = [program] * options["programs"]
            soaking.soak(programs, people, watch, tally, minutes=minutes)
        for line in tally.told:
            self.stdout.write(line)
        benches.tell(list(soaking.figures(tally, watch, minutes=minutes)), self.stdout)
