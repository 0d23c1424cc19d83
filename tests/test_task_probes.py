"""Every task that is given a tenant and an object, given another tenant's: nothing happens to it.

Generated from what Celery knows; a new task needs an entry here, or a reason why it needs none.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

import pytest
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection as database

import workers.deliveries
import workers.gpu
import workers.housekeeping
import workers.ingestion
import workers.packing  # noqa: F401  importing them is what registers their tasks
from apps.corpora.actions.freezing import order_freeze
from apps.corpora.models import Corpus, Snapshot
from apps.forgetting.tables import tables_of_tenants
from apps.registry.models import Embedder
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from counterpoint.celery import app
from tests.apps.corpora.making import make_corpus, only_item, send, take_in
from tests.apps.corpora.strangers import connection
from tests.browser.making import fill
from tests.cast import Cast

# Tasks that are given nothing: they walk over the tenants, each in its own scope.
OF_NOBODY = {
    "gpu.wake": "claims runs as the dispatcher, and works in the tenant of the row",
    "housekeeping.lapse": "each tenant in its own scope",
    "housekeeping.rows": "each tenant in its own scope",
    "housekeeping.deliver": "each tenant in its own scope",
}


def a_waiting_file(cast: Cast) -> object:
    upload = send(cast, make_corpus(cast), {"a.txt": b"words"})
    return only_item(cast, upload).pk


def a_corpus_to_screen(cast: Cast) -> object:
    a_waiting_file(cast)
    with tenant_scope(cast.north):
        Corpus.objects.update(policy_version=2)
        return Corpus.objects.get().pk


def a_corpus_with_words(cast: Cast) -> object:
    corpus = make_corpus(cast)
    take_in(cast, corpus, {"a.txt": b"words"})
    return corpus.pk


def an_order_to_freeze(cast: Cast) -> object:
    corpus = make_corpus(cast)
    take_in(cast, corpus, {"a.txt": b"words"})
    with tenant_scope(cast.north):
        return order_freeze(corpus, by=cast.ada).pk


def a_snapshot(cast: Cast) -> object:
    return next(row.pk for row in fill(cast) if isinstance(row, Snapshot))


def a_run(cast: Cast) -> object:
    return next(row.pk for row in fill(cast) if isinstance(row, Run))


def a_part_of_a_run(cast: Cast) -> object:
    return a_run(cast), "d" * 64, "0"


def a_place_outside(cast: Cast) -> object:
    return connection(cast).pk


def an_embedder(cast: Cast) -> object:
    a_waiting_file(cast)
    with tenant_scope(cast.north):
        row = Embedder.objects.create(name="meaning", digest="d" * 64, width=4, in_use=True)
        return row.pk


OBJECTS: dict[str, Callable[[Cast], object]] = {
    "ingestion.count": a_snapshot,
    "ingestion.freeze": an_order_to_freeze,
    "ingestion.pack": a_run,
    "ingestion.pack_part": a_part_of_a_run,
    "ingestion.repeats": a_corpus_with_words,
    "ingestion.synchronise": a_place_outside,
    "ingestion.embed": an_embedder,
    "ingestion.extract": a_waiting_file,
    "ingestion.screen": a_corpus_to_screen,
}
OURS = sorted(name for name in app.tasks if not name.startswith("celery."))


def state_of(cast: Cast) -> str:
    """Every row of North and every file of its, as one digest."""
    told = sha256()
    with tenant_scope(cast.north), database.cursor() as cursor:
        for table in tables_of_tenants():
            cursor.execute(f'SELECT to_jsonb(t)::text FROM "{table}" t ORDER BY 1')  # noqa: S608  a name of the catalogue
            told.update(json.dumps([table, *cursor.fetchall()]).encode())
    for path in sorted(settings.HOME.glob(f"*/{cast.north.pk}/**/*")):
        told.update(f"{path} {path.stat().st_mtime_ns}".encode())
    return told.hexdigest()


def test_every_task_has_an_entry() -> None:
    assert sorted([*OBJECTS, *OF_NOBODY]) == OURS


@pytest.mark.parametrize("name", OF_NOBODY)
def test_a_task_of_nobody_is_given_nothing(name: str) -> None:
    assert list(inspect.signature(app.tasks[name].run).parameters) == []


@pytest.mark.parametrize("name", OBJECTS)
def test_a_task_in_another_tenants_name_changes_nothing(cast: Cast, name: str) -> None:
    code = OBJECTS[name](cast)
    before = state_of(cast)
    with suppress(ObjectDoesNotExist):  # an ending as good as another: it is not there
        words = code if isinstance(code, tuple) else (code,)
        app.tasks[name](str(cast.south.pk), *map(str, words))
    assert state_of(cast) == before
    if name in {"ingestion.extract", "ingestion.freeze"}:  # the probe sees what happens
        app.tasks[name](str(cast.north.pk), str(code))
        assert state_of(cast) != before
