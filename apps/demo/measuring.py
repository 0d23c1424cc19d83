"""Measures access: the one question, the price of row security on lists, acts of audit a second.

And, for every bench, how long a page takes and what it asks of the database.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError
from django.db import connection, connections, transaction
from django.test import Client

from apps.accounts.models import User
from apps.audit.actions import record
from apps.corpora.models import Corpus, CorpusGrant
from apps.demo.crowd import Crowd
from apps.registry.closure import can_use
from apps.registry.models import Composition
from apps.tenants.models import Group, GroupMember, Membership, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.figures import Figure
from counterpoint.memory import keep_what_is_loaded

QUESTIONS, ROUNDS, ACTS, WRITERS = 400, 60, 4000, 4


def use_in_milliseconds(crowd: Crowd) -> Iterator[Figure]:
    """May this person use this model? Asked of random pairs, each in the database."""
    with tenant_scope(crowd.tenant):
        analyse()
        times = [
            seconds(lambda: can_use(crowd.chance.choice(crowd.people), chosen(crowd)))
            for _ in range(QUESTIONS)
        ]
    for name, value in (
        ("median", statistics.median(times)),
        ("95th percentile", statistics.quantiles(times, n=20)[-1]),
    ):
        told = f"{QUESTIONS} random pairs"
        yield Figure(f"can_use, {name}", value * 1000, "ms", told, 5)


def chosen(crowd: Crowd) -> Composition:
    return crowd.chance.choice(crowd.models)


def cost_of_row_security(crowd: Crowd) -> Iterator[Figure]:
    """The queries of two list pages as the runtime role, and as an owner whom nothing bounds.

    Both filter by tenant as the product does; the ratio is what the policies add.
    """
    person = crowd.people[0]
    with tenant_scope(crowd.tenant):
        lists: dict[str, Any] = {
            "models": Composition.objects.visible_to(person).order_by("name"),
            "corpora": Corpus.objects.readable_by(person).order_by("name"),
        }
        asked = {name: rows.query.sql_with_params() for name, rows in lists.items()}
    with unbound():
        for name, (statement, values) in asked.items():
            bounded, free = alternating(crowd, statement, values)
            what, told = f"row security on the list of {name}", f"{free * 1000:.2f} ms without"
            yield Figure(what, bounded / free, "times", told, 1.1)


@contextmanager
def unbound() -> Iterator[None]:
    """While this lasts, the owner of the tables sees every row: of a home that is thrown away."""
    models = (Composition, Corpus, CorpusGrant, Group, GroupMember)
    tables = [f'"{model._meta.db_table}"' for model in models]
    try:
        run_as_owner(f"ALTER TABLE {each} NO FORCE ROW LEVEL SECURITY" for each in tables)
        yield
    finally:
        run_as_owner(f"ALTER TABLE {each} FORCE ROW LEVEL SECURITY" for each in tables)


def run_as_owner(statements: Iterator[str]) -> None:
    with connections["owner"].cursor() as cursor:
        for statement in sorted(set(statements)):
            cursor.execute(statement)


def alternating(crowd: Crowd, statement: str, values: Any) -> tuple[float, float]:
    """Medians of both, asked in turn so that the machine's moods fall on both alike."""
    bounded, free = [], []
    for _ in range(ROUNDS):
        with tenant_scope(crowd.tenant):
            bounded.append(seconds(lambda: fetched("default", statement, values)))
        with transaction.atomic(using="owner"):
            free.append(seconds(lambda: fetched("owner", statement, values)))
    return statistics.median(bounded), statistics.median(free)


def fetched(alias: str, statement: str, values: Any) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, values)
        cursor.fetchall()


def acts_a_second(crowd: Crowd) -> Iterator[Figure]:
    """Audit lines, each in a transaction of its own and on disk when it returns.

    Of all tenants together, and of one alone, whose acts follow each other in one chain.
    """
    every = list(Tenant.objects.order_by("slug"))
    rate = written_a_second([every[at % len(every)] for at in range(WRITERS)])
    name, told = "audit acts, all tenants", f"{WRITERS} writers"
    yield Figure(name, rate, "a second", told, 1000, at_least=True)
    rate = written_a_second([crowd.tenant] * WRITERS)
    yield Figure("audit acts, one tenant", rate, "a second", told)


def written_a_second(tenants: list[Tenant]) -> float:
    """A writing process for each of these, as the web's are; from first begin to last end."""
    connections.close_all()  # a connection must not be shared with a child
    with ProcessPoolExecutor(len(tenants), mp_context=multiprocessing.get_context("fork")) as pool:
        each = [pool.submit(act_again, tenant, ACTS // len(tenants)) for tenant in tenants]
        spans = [done.result() for done in each]
    return ACTS / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def act_again(tenant: Tenant, times: int) -> tuple[float, float]:
    """When it began and ended, by the machine's clock."""
    with tenant_scope(tenant):
        by = Membership.objects.filter(tenant=tenant).select_related("user")[0].user
    began = time.monotonic()
    for number in range(times):
        with tenant_scope(tenant):
            record("bench.act", None, by=by, number=number)
    return began, time.monotonic()


def analyse() -> None:
    """What the database does by itself after a while, done now."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE")
    connection.ensure_connection()


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


# ---- pages ---------------------------------------------------------------------------------------


def signed_in(user: User) -> Client:
    """A browser of this person that asks the site in this process, once it is all loaded."""
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def asked_again(client: Client, address: str, times: int) -> tuple[list[float], int]:
    """(seconds of each, queries of one) when this page is asked for so often, once it is warm."""
    queries = [0]

    def counting(execute: Callable[..., object], sql: str, *asked: object) -> object:
        queries[0] += sql.startswith("SELECT")  # a page's savepoints are no questions
        return execute(sql, *asked)

    client.get(address)
    keep_what_is_loaded()  # as the site does when it has begun
    with connection.execute_wrapper(counting):
        client.get(address)
    took = []
    for _ in range(times):
        began = time.perf_counter()
        status = client.get(address).status_code
        took.append(time.perf_counter() - began)
        if status != 200:
            raise CommandError(f"{address} answers {status}.")
    return took, queries[0]
