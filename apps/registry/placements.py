"""What should be served and what is: the rows behind the model host. Knows no process.

A placement is refreshed while its server answers; a row that nobody refreshes is not ready
(`Placement.objects.serving`). One host serves every tenant, each in that tenant's scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.db.models.functions import Now

from apps.registry import artifacts
from apps.registry.models import Composition, Embedder, ModelHost, Placement
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InternalError

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wanted:
    """One model that should be served: a composition that `live` names, or the embedder in use.

    kind      "composition" or "embedder", as `Placement` calls them
    model     the name under which programs ask; of an embedder the kind's own: there is one
    folders   what a server is given, each by its role: the kind itself, "anchor", "augmenter"
    """

    tenant_id: UUID
    kind: str
    row_id: UUID
    model: str
    folders: tuple[tuple[str, Path], ...]

    @property
    def line(self) -> tuple[UUID, str, str]:
        """What it takes the place of, and leaves to its successor: versions of one model."""
        return self.tenant_id, self.kind, self.model if self.kind == "composition" else ""

    @property
    def of(self) -> dict[str, Any]:
        """Which placements are its own."""
        return {f"{self.kind}_id": self.row_id}


def wanted() -> list[Wanted]:
    """What should be served now, of every tenant."""
    found: list[Wanted] = []
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            ready = Composition.objects.live().filter(state=Composition.State.READY)
            rows: list[Composition | Embedder] = [
                *ready.select_related("anchor").distinct(),
                *Embedder.objects.filter(in_use=True),
            ]
            for row in rows:
                try:
                    found.append(_wanted(tenant.pk, row))
                except InternalError as error:  # one lost folder must not stop all the others
                    log.error("placement.files", model=str(row.pk), code=error.code)  # noqa: TRY400  an expected kind
    return found


def _wanted(tenant_id: UUID, row: Composition | Embedder) -> Wanted:
    kind = artifacts.KINDS[type(row)]
    folders = [(kind, artifacts.path(row))]
    if isinstance(row, Composition):
        folders.append(("anchor", artifacts.path(row.anchor)))
        folders += [("augmenter", artifacts.path(part)) for part in row.parts()]
    return Wanted(tenant_id, kind, row.pk, row.name, tuple(folders))


def is_allowed(served: Wanted) -> bool:
    """Whether a model may go on being served until its successor is ready."""
    with tenant_scope(served.tenant_id):
        if served.kind == "embedder":
            return bool(Embedder.objects.filter(pk=served.row_id).exists())
        rows = Composition.objects.filter(pk=served.row_id)
        return bool(rows.filter(state=Composition.State.READY).exists())


def write(
    host: str, served: Wanted, state: Placement.State, *, address: str = "", reason: str = ""
) -> None:
    """Say where this model stands on this host, now."""
    with tenant_scope(served.tenant_id):
        row, _ = ModelHost.objects.update_or_create(name=host, defaults={"seen_at": Now()})
        Placement.objects.update_or_create(
            host=row,
            **served.of,
            defaults={
                "address": address,
                "state": state,
                "reason": reason,
                "seen_at": Now(),
            },
        )


def forget(host: str, served: Wanted) -> None:
    """Nothing of this model is served here any more."""
    with tenant_scope(served.tenant_id):
        Placement.objects.filter(host__name=host, **served.of).delete()


def begin(host: str) -> None:
    """A host that starts serves nothing yet, whatever an earlier life of it left written."""
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            Placement.objects.filter(host__name=host).delete()
