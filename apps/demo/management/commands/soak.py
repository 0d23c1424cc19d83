"""`soak`: a tiny model at capacity for an hour, its clients leaving and its hosts killed.

For an empty home alone. Prints a table and one JSON object a line; exits 1 when a bar is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.accounts.actions import invite, issue_key
from apps.accounts.models import User
from apps.corpora.actions import add_examples, create_corpus, freeze, grant
from apps.demo import benches, soaking
from apps.demo import operate_measuring as measuring
from apps.demo.visitor import Visitor
from apps.registry import artifacts, hosts
from apps.registry.actions import import_anchor, promote, publish_augmenter, publish_composition
from apps.registry.models import Alias, Composition
from apps.tenants.models import Role, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.specs import Outcome

MODEL = "tiny"
SERVED_SECONDS = 120.0


class Command(BaseCommand):
    help = "Ask more of a tiny model than it can take, for long, and kill its processes meanwhile."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--minutes", type=float, default=60.0)
        parser.add_argument("--programs", type=int, default=56, help="16 answer, 32 of one wait")
        parser.add_argument("--people", type=int, default=4)

    def handle(self, *_args: Any, **options: Any) -> None:
        bench = benches.begin()
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        bench.tenant.settings = {"api_requests_per_minute": 100_000}  # the model is to refuse
        bench.tenant.save()
        readers = [
            invite(bench.tenant, f"p{at}@bench.example", f"P {at}", Role.EMPLOYEE, bench.password)
            for at in range(options["people"])
        ]
        with tenant_scope(bench.tenant):
            made = published(bench.by, readers)
        wait_until_served(bench.tenant, made)
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


def published(by: User, readers: list[User]) -> Composition:
    """A composition that nobody trained, live, its corpus open to these people."""
    folder = Path(settings.HOME) / "soak"
    done = subprocess.run(  # noqa: S603  ours
        [sys.executable, "-m", "calm_engine.bench.tiny", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    digests = json.loads(done.stdout.splitlines()[-1])
    outcomes = {
        kind: Outcome(kind, str(folder / kind), digest, facts={"name": MODEL})
        for kind, digest in digests.items()
    }
    corpus = create_corpus("Soak", by=by)
    for reader in readers:
        grant(corpus, reader, "read", by=by)
    measuring.fill(corpus, 1)
    add_examples(corpus, [{"question": "Where?", "answer": "Here", "expected": "Here"}], by=by)
    snapshot = freeze(corpus, by=by)
    anchor = import_anchor(outcomes["anchor"], by=by)
    for kind in ("augmenter", "composition"):
        artifacts.adopt(kind, folder / kind, digests[kind])
    run = uuid4()
    augmenter = publish_augmenter(
        outcomes["augmenter"], name=MODEL, run_id=run, anchor=anchor, snapshots=[snapshot], by=by
    )
    made = publish_composition(
        outcomes["composition"],
        name=MODEL,
        run_id=run,
        anchor=anchor,
        augmenters=[augmenter],
        snapshot=snapshot,
        by=by,
    )
    promote(made, Alias.LIVE, by=by)
    return made


def wait_until_served(tenant: Tenant, made: Composition) -> None:
    deadline = time.monotonic() + SERVED_SECONDS
    while time.monotonic() < deadline:
        with tenant_scope(tenant):
            if hosts.addresses_of(made):
                return
        time.sleep(0.5)
    raise CommandError("No host serves the model; its log in the home folder says why.")
