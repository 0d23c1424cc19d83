"""Whose rows are in view: the tenant of the current context. Knows no person and no right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction

from counterpoint.database import current_tenant_id as context

if TYPE_CHECKING:
    from apps.tenants.models import Tenant


def current_tenant_id() -> UUID | None:
    """The id of the tenant in scope, or None."""
    return context.get()


def current_tenant() -> Tenant | None:
    """The tenant in scope, or None. One query."""
    from apps.tenants.models import Tenant  # noqa: PLC0415  models need this module

    tenant_id = context.get()
    return Tenant.objects.get(pk=tenant_id) if tenant_id else None


@contextmanager
def tenant_scope(tenant: Tenant | UUID | str) -> Iterator[None]:
    """One transaction in which this tenant's rows, and no others, are in view.

    Nested scopes are savepoints of the same transaction; the outer tenant is in view again after.
    Never keep a scope open across a wait: it holds a connection. `counterpoint.database` names the
    tenant to PostgreSQL.
    """
    token = context.set(UUID(str(getattr(tenant, "pk", tenant))))
    try:
        with transaction.atomic():
            yield
    finally:
        context.reset(token)
