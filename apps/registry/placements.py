"""What should be served and what is: the rows behind the model host. Knows no process.

A placement is refreshed while its server answers; a row that nobody refreshes is not ready
(`Placement.objects.serving`). One host serves every tenant, each in that tenant's scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog
from django.db.models.functions import Now

from apps.registry import artifacts
from apps.registry.models import Composition, ModelHost, Placement
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InternalError

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wanted:
    """One composition that a live alias names, with the folders that a server needs."""

    tenant_id: UUID
    composition_id: UUID
    model: str
    composition: Path
    anchor: Path
    augmenters: tuple[Path, ...]


def wanted() -> list[Wanted]:
    """What should be served now: of every tenant, the ready compositions that `live` names."""
    found: list[Wanted] = []
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            ready = Composition.objects.live().filter(state=Composition.State.READY)
            for row in ready.select_related("anchor").distinct():
                try:
                    found.append(_wanted(tenant.pk, row))
                except InternalError as error:  # one lost folder must not stop all the others
                    log.error("placement.files", composition=str(row.pk), code=error.code)  # noqa: TRY400  an expected kind
    return found


def _wanted(tenant_id: UUID, row: Composition) -> Wanted:
    return Wanted(
        tenant_id=tenant_id,
        composition_id=row.pk,
        model=row.name,
        composition=artifacts.path(row),
        anchor=artifacts.path(row.anchor),
        augmenters=tuple(artifacts.path(part) for part in row.parts()),
    )


def is_allowed(served: Wanted) -> bool:
    """Whether a composition may go on being served until its successor is ready."""
    with tenant_scope(served.tenant_id):
        rows = Composition.objects.filter(pk=served.composition_id)
        return bool(rows.filter(state=Composition.State.READY).exists())


def write(
    host: str, served: Wanted, state: Placement.State, *, address: str = "", reason: str = ""
) -> None:
    """Say where this composition stands on this host, now."""
    with tenant_scope(served.tenant_id):
        row, _ = ModelHost.objects.update_or_create(name=host, defaults={"seen_at": Now()})
        Placement.objects.update_or_create(
            host=row,
            composition_id=served.composition_id,
            defaults={
                "address": address,
                "state": state,
                "reason": reason,
                "seen_at": Now(),
            },
        )


def forget(host: str, served: Wanted) -> None:
    """Nothing of this composition is served here any more."""
    with tenant_scope(served.tenant_id):
        Placement.objects.filter(host__name=host, composition_id=served.composition_id).delete()


def begin(host: str) -> None:
    """A host that starts serves nothing yet, whatever an earlier life of it left written."""
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            Placement.objects.filter(host__name=host).delete()
