"""A tenant agrees to be taken out or deleted: asked for in its own pages, before any command runs.

Knows neither how it is done. Whoever runs the server cannot agree in the tenant's place.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q
from django.db.models.functions import Now

from apps.audit import approvals
from apps.audit.models import Approval
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User
    from apps.tenants.models import Tenant

Kind = Approval.Kind
EXPORT, DELETION = Kind.TENANT_EXPORT, Kind.TENANT_END
KINDS = (EXPORT, DELETION)
WORTH = timedelta(days=7)


def ask(kind: str, tenant: Tenant, *, by: User, reason: str) -> Approval:
    """Write the tenant's wish down. Raises InputError: "reason.missing", "leaving.kind"."""
    if kind not in KINDS:
        raise InputError("leaving.kind")
    return approvals.ask(kind, tenant, by=by, reason=reason)


def agreement(kind: str, tenant: Tenant) -> Approval:
    """The wish of the tenant in scope that stands; where it wants two people, a second granted it.

    Raises InputError("leaving.unagreed").
    """
    rows = Approval.objects.filter(kind=kind, subject=str(tenant.pk), spent_at=None)
    granted = Q(granted=True, until__gt=Now())
    if not approvals.wants_two(kind, tenant):
        granted |= Q(granted=None, asked_at__gt=Now() - WORTH)
    found: Approval | None = rows.filter(granted).first()
    if found is None:
        raise InputError("leaving.unagreed", tenant=tenant.slug)
    return found


def spend(wish: Approval) -> None:
    """Use the agreement up. Raises InputError("leaving.unagreed") when somebody was first."""
    if not Approval.objects.filter(pk=wish.pk, spent_at=None).update(spent_at=Now()):
        raise InputError("leaving.unagreed", tenant=wish.subject_name)
