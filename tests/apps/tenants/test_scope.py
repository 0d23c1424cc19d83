"""Whose rows are in view: nested, restored, and nothing without a tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.tenants.models import Group
from apps.tenants.scope import current_tenant, current_tenant_id, tenant_scope
from tests.cast import Cast


def named() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('app.tenant', true), '')")
        return str(cursor.fetchone()[0])


def raw_names() -> list[str]:
    """Straight from the table: what row-level security shows, with no manager in front."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM tenants_group ORDER BY name")
        return [row[0] for row in cursor.fetchall()]


def stumble() -> None:
    raise ZeroDivisionError


def make_groups(cast: Cast) -> None:
    for tenant, name in ((cast.north, "Sales"), (cast.south, "Stores")):
        with tenant_scope(tenant):
            Group.objects.create(name=name)


def test_each_tenant_sees_its_own_rows_and_nobody_sees_any_without_one(cast: Cast) -> None:
    make_groups(cast)
    with tenant_scope(cast.north):
        assert [g.name for g in Group.objects.all()] == raw_names() == ["Sales"]
    with tenant_scope(cast.south):
        assert [g.name for g in Group.objects.all()] == raw_names() == ["Stores"]
    assert list(Group.objects.all()) == []
    assert raw_names() == []


def test_a_nested_scope_gives_the_outer_one_back(cast: Cast) -> None:
    with tenant_scope(cast.north):
        with tenant_scope(cast.south):
            assert current_tenant() == cast.south
            assert named() == str(cast.south.pk)
        assert current_tenant_id() == cast.north.pk
        assert named() == str(cast.north.pk)
    assert named() == ""


def test_a_nested_scope_that_fails_gives_the_outer_one_back(cast: Cast) -> None:
    with tenant_scope(cast.north):
        with pytest.raises(ZeroDivisionError), tenant_scope(cast.south):
            stumble()
        assert named() == str(cast.north.pk)
        assert current_tenant_id() == cast.north.pk


def test_a_query_that_fails_in_a_scope_leaves_both_usable(cast: Cast) -> None:
    with tenant_scope(cast.north):
        with pytest.raises(DatabaseError), tenant_scope(cast.south), connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
        assert named() == str(cast.north.pk)
        with tenant_scope(cast.south):
            assert named() == str(cast.south.pk)


def test_a_request_sees_its_tenant_inside_an_open_transaction(cast: Cast) -> None:
    make_groups(cast)
    assert named() == ""
    cast.client(cast.ada).get("/audit/")
    assert named() == ""
    assert raw_names() == []


@given(steps=st.lists(st.tuples(st.sampled_from(["north", "south"]), st.booleans()), max_size=6))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_however_scopes_nest_and_fail_the_innermost_alone_is_in_view(
    cast: Cast, steps: list[tuple[str, bool]]
) -> None:
    """Each step opens a scope within the one before; some fail on their way out."""
    seen = {"north": str(cast.north.pk), "south": str(cast.south.pk)}

    def descend(depth: int) -> None:
        before = named()
        if depth == len(steps):
            return
        tenant, fails = steps[depth]
        try:
            with tenant_scope(getattr(cast, tenant)):
                assert named() == seen[tenant]
                descend(depth + 1)
                assert named() == seen[tenant]
                if fails:
                    stumble()
        except ZeroDivisionError:
            assert fails
        assert named() == before

    descend(0)
    assert named() == ""


def test_a_row_for_another_tenant_is_refused(cast: Cast) -> None:
    with tenant_scope(cast.north):
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Group.objects.create(name="Spies", tenant=cast.south)
        Group.objects.create(name="Sales")
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Group.objects.update(tenant=cast.south)


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_nothing_is_in_view(cast: Cast) -> None:
    make_groups(cast)
    with tenant_scope(cast.north):
        assert raw_names() == ["Sales"]
    assert raw_names() == []  # the same connection, after commit


@pytest.mark.django_db(transaction=True)
def test_a_streamed_body_opens_a_scope_per_piece_and_holds_nothing_between(cast: Cast) -> None:
    make_groups(cast)

    def piece() -> list[str]:
        with tenant_scope(cast.north):
            return raw_names()

    async def body() -> AsyncIterator[str]:
        for _ in range(2):
            yield str(await sync_to_async(piece)())

    async def read() -> list[str]:
        found = []
        async for each in body():
            assert current_tenant_id() is None
            assert not await sync_to_async(lambda: connection.in_atomic_block)()
            found.append(each)
        return found

    assert asyncio.run(read()) == ["['Sales']"] * 2


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_each_see_their_own(cast: Cast) -> None:
    make_groups(cast)
    names = {cast.north.pk: ["Sales"], cast.south.pk: ["Stores"]}

    def look(tenant_id: object) -> bool:
        with tenant_scope(str(tenant_id)):
            return raw_names() == names[tenant_id]

    async def all_of_them() -> list[bool]:
        tenants = [cast.north.pk, cast.south.pk] * 10
        return await asyncio.gather(*(sync_to_async(look)(tenant) for tenant in tenants))

    assert all(asyncio.run(all_of_them()))
