"""Objects of North for the walk of strangers."""

from __future__ import annotations

from datetime import date

from apps.audit import holds
from apps.audit.models import Hold
from apps.forgetting.actions import open_plan
from apps.forgetting.models import ForgetPlan
from apps.tenants.scope import tenant_scope
from tests.apps.corpora.making import make_document
from tests.cast import Cast


def plan(cast: Cast) -> ForgetPlan:
    document = make_document(cast)
    with tenant_scope(cast.north):
        return open_plan(document.corpus, document, by=cast.ada, reason="Asked to.")


def hold(cast: Cast) -> Hold:
    with tenant_scope(cast.north):
        return holds.place(
            "person", cast.bo, by=cast.ada, reason="A court asks.", review_on=date(2030, 1, 1)
        )


OBJECTS = {
    **{
        f"forgetting:{name}": lambda cast: {"code": plan(cast).pk}
        for name in ("plan", "act", "decide", "certificate")
    },
    "forgetting:document": lambda cast: {"code": make_document(cast).pk},
    "forgetting:lift": lambda cast: {"code": hold(cast).pk},
}
