"""What should be served and what is: the rows behind the model host. Knows no process.

A placement is refreshed while its server answers; a row that nobody refreshes is not ready
(`Placement.objects.serving`). One host serves every tenant, each in that tenant's scope.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.db.models.functions import Now

from apps.registry import artifacts
from apps.registry.models import WAKE_FOR, Alias, Composition, Embedder, ModelHost, Placement
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
    is_warm   never put to sleep for others
    is_asked  it sleeps, and somebody has asked for it
    """

    tenant_id: UUID
    kind: str
    row_id: UUID
    model: str
    folders: tuple[tuple[str, Path], ...]
    is_warm: bool = False
    is_asked: bool = False

    def folders_of(self, role: str) -> list[Path]:
        return [folder for name, folder in self.folders if name == role]

    @property
    def line(self) -> tuple[UUID, str, str]:
        """What it takes the place of, and leaves to its successor: versions of one model."""
        return self.tenant_id, self.kind, self.model if self.kind == "composition" else ""

    @property
    def of(self) -> dict[str, Any]:
        """Which placements are its own."""
        return {f"{self.kind}_id": self.row_id}


def wanted(host: str = "") -> list[Wanted]:
    """What should be served now, of every tenant.

    host   whose sleeping models are told to be asked for
    """
    found: list[Wanted] = []
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant):
            ready = Composition.objects.live().filter(state=Composition.State.READY)
            rows: list[Composition | Embedder] = [
                *ready.select_related("anchor").distinct(),
                *Embedder.objects.filter(in_use=True),
            ]
            warm, asked = _kept_warm(), called(host)
            for row in rows:
                is_warm = isinstance(row, Embedder) or row.pk in warm
                try:
                    served = _wanted(tenant.pk, row)
                    found.append(replace(served, is_warm=is_warm, is_asked=row.pk in asked))
                except InternalError as error:  # one lost folder must not stop all the others
                    log.error("placement.files", model=str(row.pk), code=error.code)  # noqa: TRY400  an expected kind
    return found


def _kept_warm() -> set[UUID]:
    live = Alias.objects.filter(name=Alias.LIVE, keep_warm=True)
    return set(live.values_list("composition_id", flat=True))


def called(host: str) -> set[UUID]:
    """Those that sleep on this host and that somebody waits for."""
    asleep = Placement.objects.filter(host__name=host, state=Placement.State.ASLEEP)
    called = asleep.filter(asked_at__gte=Now() - WAKE_FOR)
    return set(called.values_list("composition_id", flat=True))


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
    host: str,
    served: Wanted,
    state: Placement.State,
    *,
    address: str = "",
    reason: str = "",
    load: tuple[int, int] = (0, 0),
) -> None:
    """Say where this model stands on this host, now.

    load   requests that it has, and how many it answers at once
    """
    sleeps = state == Placement.State.ASLEEP
    answered: dict[str, Any] = {} if sleeps else {"asked_at": None}
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
                "under_way": load[0],
                "places": load[1],
                **answered,
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
