"""Objects of North for the walk of strangers."""

from __future__ import annotations

from apps.audit import approvals
from apps.audit.models import Approval
from apps.tenants.scope import tenant_scope
from tests.cast import Cast


def wish(cast: Cast) -> Approval:
    with tenant_scope(cast.north):
        return approvals.ask(Approval.Kind.POLICY, cast.north, by=cast.otto, reason="Safer.")


OBJECTS = {"audit:decide": lambda cast: {"code": wish(cast).pk}}
