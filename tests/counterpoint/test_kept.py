"""Kept queries say what their query sets say, whoever asks and in whose tenant."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import CharField, QuerySet, Value
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

from apps.corpora.models import Corpus
from apps.tenants.models import Membership, Tenant
from apps.tenants.scope import tenant_scope
from counterpoint.database.kept import Kept
from tests.cast import Cast


def readable(user: Any, name: str) -> QuerySet[Corpus]:
    rows: Any = Corpus.objects.readable_by(user).filter(name=name).select_related("owner")
    found: QuerySet[Corpus] = rows.annotate(mark=Value("seen", output_field=CharField()))
    return found


def made(tenant: Tenant, owner: Any, *names: str) -> None:
    with tenant_scope(tenant):
        for name in names:
            Corpus.objects.create(name=name, owner=owner)


def test_it_brings_what_the_query_set_brings_for_other_values_each_time(cast: Cast) -> None:
    made(cast.north, cast.ada, "Handbook", "Prices")
    made(cast.north, cast.bo, "Letters")
    kept = Kept(readable)
    with tenant_scope(cast.north):
        for person in (cast.ada, cast.bo, cast.ada):
            for name in ("Handbook", "Letters", "Prices", "50% 'off'; --", ""):
                assert kept(user=person, name=name) == list(readable(person, name))
        assert [each.name for each in kept(user=cast.ada, name="Prices")] == ["Prices"]


def test_the_person_of_a_request_who_is_read_late_may_be_the_first_to_ask(cast: Cast) -> None:
    made(cast.north, cast.ada, "Handbook")
    kept = Kept(readable)
    person = SimpleLazyObject(lambda: cast.ada)
    with tenant_scope(cast.north):
        assert [each.name for each in kept(user=person, name="Handbook")] == ["Handbook"]


def test_related_rows_and_annotations_come_with_it(cast: Cast) -> None:
    made(cast.north, cast.ada, "Handbook")
    kept = Kept(readable)
    with tenant_scope(cast.north), CaptureQueriesContext(connection) as queries:
        found: Any
        (found,) = kept(user=cast.ada, name="Handbook")
        assert (found.owner.email, found.mark) == (cast.ada.email, "seen")
    assert sum("corpora_corpus" in each["sql"] for each in queries.captured_queries) == 1
    with tenant_scope(cast.north):
        found.description = "changed"
        found.save()
        assert Corpus.objects.get(pk=found.pk).description == "changed"


def test_it_shows_the_rows_of_the_tenant_in_scope_and_none_without_one(cast: Cast) -> None:
    made(cast.north, cast.ada, "Handbook")
    made(cast.south, cast.ada, "Handbook")
    kept = Kept(readable)
    for tenant in (cast.north, cast.south, cast.north):
        with tenant_scope(tenant):
            assert [each.tenant_id for each in kept(user=cast.ada, name="Handbook")] == [tenant.pk]
    assert kept(user=cast.ada, name="Handbook") == []


def test_what_needs_no_tenant_is_found_without_one(cast: Cast) -> None:
    kept = Kept(lambda tenant, user: Membership.objects.filter(tenant=tenant, user=user))
    assert [each.user_id for each in kept(tenant=cast.north.pk, user=cast.bo)] == [cast.bo.pk]
    assert kept(tenant=uuid4(), user=cast.bo) == []


def test_a_value_that_the_query_does_not_ask_for_is_a_mistake(cast: Cast) -> None:
    kept = Kept(lambda name, user: Corpus.objects.filter(name=name))  # noqa: ARG005  the mistake
    with pytest.raises(ValueError, match="does not ask for user"), tenant_scope(cast.north):
        kept(name="Handbook", user=cast.ada)


@pytest.mark.django_db(transaction=True)
def test_threads_that_ask_at_once_each_get_their_own(cast: Cast) -> None:
    made(cast.north, cast.ada, "Handbook", "Prices")
    made(cast.south, cast.bo, "Handbook", "Prices")
    kept = Kept(readable)

    def ask(number: int) -> bool:
        tenant, person = ((cast.north, cast.ada), (cast.south, cast.bo))[number % 2]
        name = ("Handbook", "Prices")[number // 2 % 2]
        try:
            with tenant_scope(tenant):
                found = kept(user=person, name=name)
        finally:
            connection.close()
        return [(each.name, each.owner, each.tenant_id) for each in found] == [
            (name, person, tenant.pk)
        ]

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(80)))
