"""Objects of North for the walk of strangers."""

from __future__ import annotations

from apps.runs.models import Run, Webhook
from apps.tenants.scope import tenant_scope
from tests.apps.registry.strangers import one
from tests.cast import Cast

NAMES = ("run", "events", "metrics", "log", "stop", "discard", "pause", "go-on", "again")
NAMES += ("repeat", "branch")


def webhook(cast: Cast) -> dict[str, object]:
    """A webhook of North."""
    with tenant_scope(cast.north):
        row = Webhook.objects.create(
            address="https://hooks.north.example/runs", secret="not for cy", by=cast.ada
        )
    return {"code": row.pk}


OBJECTS = {f"runs:{name}": one(Run) for name in NAMES} | {"runs:remove-webhook": webhook}
