"""`bench_runs`: how long a claim takes with 10,000 runs waiting, and how fair the shares are.

The runs are rows alone, in a queue to which no worker listens; their work is simulated, in the
database's own accounts. Made for an empty installation: `make bench-runs`.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from statistics import median, quantiles
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models.functions import Now

from apps.accounts.actions import invite, open_tenant
from apps.corpora.models import Corpus, Snapshot
from apps.registry.models import Anchor
from apps.runs import slots
from apps.runs.claims import Claimed, charge, claim, cost_of_claim, dispatching
from apps.runs.models import Run, Share
from apps.tenants.models import Role, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.figures import Figure

QUEUE, SLOT = "bench", "bench/0"
TENANTS, FEW, MANY = 50, 20, 200  # runs of each tenant: first a few, then all
SLOTS = 8
CLAIMS = 4000
SECONDS = (60.0, 180.0)  # of accelerator time, of one simulated run
WEIGHTS = (1.0, 2.0, 3.0)
PROBES = 200


class Command(BaseCommand):
    help = __doc__

    def handle(self, **_: Any) -> None:
        if Tenant.objects.filter(slug__startswith="bench-").exists():
            raise CommandError("This installation was measured before; use an empty one.")
        chance = random.Random(1)  # noqa: S311  the same work each time
        tenants = [self._tenant(number) for number in range(TENANTS)]
        for tenant in tenants:
            add_runs(tenant, FEW)
        few = [cost_of_claim(QUEUE, SLOT) for _ in range(PROBES)]
        for tenant in tenants:
            add_runs(tenant, MANY - FEW)
        many = [cost_of_claim(QUEUE, SLOT) for _ in range(PROBES)]
        slots.tell(SLOT, queue=QUEUE)
        claims, writes, taken = simulate(chance)
        worn = [cost_of_claim(QUEUE, SLOT) for _ in range(PROBES)]
        (server, pages), (after, _seen) = (list(zip(*each, strict=True)) for each in (many, worn))
        growth = max(pages) / max(read for _, read in few)
        asked = "10,000 waiting, 50 tenants"
        figures = [
            Figure("claim_p95", p95(claims) * 1000, "ms", asked, 20.0),
            Figure("claim_median", median(claims) * 1000, "ms", asked, 20.0),
            Figure("claim_server_p95", p95(server), "ms", "by the server's clock", 20.0),
            Figure("claim_worn_p95", p95(after), "ms", "the same after 4,000 claims", 20.0),
            Figure("claim_cost", median(claims) / median(writes), "ratio", "one row written", 4.0),
            Figure("claim_pages", max(pages), "pages", asked, 1000.0),
            Figure("claim_growth", growth, "ratio", "pages with 1,000 waiting", 2.0),
            Figure("share_deviation", deviation(tenants, taken), "share", "of its weight", 0.05),
        ]
        for figure in figures:
            self.stdout.write(
                f"{figure.name:20}{figure.value:10.3f} {figure.unit:6}{figure.against}"
            )
        for figure in figures:
            self.stdout.write(figure.as_json())
        if not all(figure.is_met for figure in figures):
            raise CommandError("A bar was missed.")

    def _tenant(self, number: int) -> Tenant:
        tenant = open_tenant(f"Bench {number}", f"bench-{number}")
        name = f"bench{number}@bench.example"
        person = invite(tenant, name, "Bench", Role.CURATOR, sha256(name.encode()).hexdigest())
        with tenant_scope(tenant):
            corpus = Corpus.objects.create(name="Bench", owner=person)
            Snapshot.objects.create(
                corpus=corpus, digest="0" * 64, manifest={}, documents=1, tokens=1, frozen_by=person
            )
            Anchor.objects.create(name="Bench", digest="0" * 64)
            Share.objects.create(weight=WEIGHTS[number % len(WEIGHTS)])
        return tenant


def add_runs(tenant: Tenant, count: int) -> None:
    with tenant_scope(tenant):
        snapshot, anchor = Snapshot.objects.get(), Anchor.objects.get()
        facts = {"kind": "augment", "queue": QUEUE, "name": "Bench", "spec": {}}
        Run.objects.bulk_create(
            Run(**facts, closure=[snapshot.corpus_id], snapshot=snapshot, anchor=anchor)
            for _ in range(count)
        )


def timed_claim() -> tuple[Claimed, float]:
    began = time.perf_counter()
    attempt = claim(QUEUE, SLOT)
    seconds = time.perf_counter() - began
    assert attempt is not None
    return attempt, seconds


def timed_write() -> float:
    """A transaction of the dispatcher that writes one row: what the road and the disk cost now."""
    began = time.perf_counter()
    with dispatching() as cursor:
        cursor.execute("UPDATE runs_slot SET serving_bytes = serving_bytes WHERE name = %s", [SLOT])
    return time.perf_counter() - began


def simulate(chance: random.Random) -> tuple[list[float], list[float], dict[UUID, float]]:
    """Claim and end runs in simulated time.

    Returns the seconds of each claim, of writing one row beside it, and what each tenant took.
    """
    now, ends = 0.0, list[tuple[float, int, Claimed, float]]()
    taken: dict[UUID, float] = defaultdict(float)
    times, writes = [], []
    for number in range(CLAIMS):
        writes.append(timed_write())
        if len(ends) == SLOTS:
            now, _, done, seconds = heapq.heappop(ends)
            end(done, seconds)
            taken[done.tenant_id] += seconds
        attempt, spent = timed_claim()
        times.append(spent)
        work = chance.uniform(*SECONDS)
        heapq.heappush(ends, (now + work, number, attempt, work))
    return times, writes, taken


def end(attempt: Claimed, seconds: float) -> None:
    with tenant_scope(attempt.tenant_id):
        Run.objects.filter(pk=attempt.run_id).update(
            state="succeeded", outcome={}, lease_until=None, owner="", finished_at=Now()
        )
        charge(attempt.tenant_id, seconds)


def deviation(tenants: Sequence[Tenant], taken: dict[UUID, float]) -> float:
    """The largest relative distance of a tenant's share from what its weight says."""
    weights = {tenant.pk: WEIGHTS[n % len(WEIGHTS)] for n, tenant in enumerate(tenants)}
    per_weight = sum(taken.values()) / sum(weights.values())
    return max(abs(taken[code] / (weight * per_weight) - 1) for code, weight in weights.items())


def p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20)[-1]
