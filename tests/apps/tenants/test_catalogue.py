"""What PostgreSQL itself says of every table that Django knows."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, models, transaction

from apps.tenants.models import Group, GroupMember, TenantModel
from apps.tenants.protection import RLS_EXEMPT, AppendOnly, Protect, SameTenant, checked
from apps.tenants.scope import tenant_scope
from tests.cast import Cast

MODELS = [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]
OF_A_TENANT = [model for model in MODELS if issubclass(model, TenantModel)]


def ask(statement: str, *arguments: object) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return list(cursor.fetchall())


@pytest.mark.parametrize("model", OF_A_TENANT, ids=lambda model: model._meta.label)
def test_a_tenants_table_is_sealed(db: None, model: type[models.Model]) -> None:
    table = model._meta.db_table
    assert ask(
        "SELECT relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner)"
        " FROM pg_class WHERE relname = %s",
        table,
    ) == [(True, True, "app_owner")]
    policies = ask(
        "SELECT permissive, roles::text[], qual IS NOT NULL, with_check IS NOT NULL"
        " FROM pg_policies WHERE tablename = %s AND 'app_rw' = ANY(roles)",
        table,
    )
    assert ("RESTRICTIVE", ["app_rw"], True, True) in policies


def test_a_table_of_no_tenant_is_on_the_reviewed_list_with_a_reason() -> None:
    others = {model._meta.db_table for model in MODELS} - {m._meta.db_table for m in OF_A_TENANT}
    assert others == set(RLS_EXEMPT)
    assert all(len(reason) > 20 for reason in RLS_EXEMPT.values())


def test_a_tenants_table_has_no_automatic_child_without_a_tenant() -> None:
    assert [
        m._meta.label
        for m in MODELS
        if m._meta.auto_created
        and "tenant" not in {field.name for field in m._meta.get_fields()}
        and m._meta.db_table not in RLS_EXEMPT
    ] == []


@pytest.mark.parametrize("model", OF_A_TENANT, ids=lambda model: model._meta.label)
def test_a_reference_stays_within_its_tenant(db: None, model: type[models.Model]) -> None:
    """Checks of foreign keys bypass row-level security: each needs the tenant in it."""
    wanted = {
        field.column
        for field in model._meta.local_fields
        if isinstance(field, models.ForeignKey) and issubclass(field.related_model, TenantModel)
    }
    kept = ask(
        "SELECT a.attname FROM pg_constraint c JOIN pg_attribute a"
        " ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)"
        " WHERE c.contype = 'f' AND c.conrelid = %s::regclass AND cardinality(c.conkey) = 2",
        model._meta.db_table,
    )
    assert wanted <= {str(column) for (column,) in kept}


@pytest.mark.parametrize("model", OF_A_TENANT, ids=lambda model: model._meta.label)
def test_a_promise_of_uniqueness_begins_with_the_tenant(model: type[models.Model]) -> None:
    """Else a stranger learns by a refusal that a name is taken."""
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            assert constraint.fields[:1] == ("tenant",), constraint.name
    assert [f.name for f in model._meta.local_fields if f.unique and not f.primary_key] == []


def test_the_same_group_may_not_be_joined_from_another_tenant(cast: Cast) -> None:
    with tenant_scope(cast.north):
        group = Group.objects.create(name="Sales")
    with tenant_scope(cast.south):
        GroupMember.objects.create(group_id=group.pk, user=cast.cy)
        with pytest.raises(DatabaseError, match="_same"), transaction.atomic():
            connection.check_constraints()
        transaction.set_rollback(True)


def test_the_dispatcher_is_not_held_by_default(db: None) -> None:
    assert ask("SELECT pg_has_role('app_rw', 'app_dispatch', 'SET')") == [(True,)]
    assert ask("SELECT pg_has_role('app_rw', 'app_dispatch', 'USAGE')") == [(False,)]


def test_operations_say_what_they_do_and_take_no_odd_names() -> None:
    assert Protect("a_table", "b_table").describe() == "Seal a_table, b_table per tenant"
    assert "a_table.b_id" in SameTenant("a_table", "b_id", "b_table").describe()
    assert AppendOnly("a_table").deconstruct()[1] == ("a_table",)
    with pytest.raises(ValueError, match="no table"):
        checked("a_table; DROP TABLE users")
