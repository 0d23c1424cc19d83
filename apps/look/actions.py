"""How a tenant shows itself: its name for the product, its colour, its logo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.audit.actions import record
from apps.look.colours import palette
from apps.look.logos import cleaned
from apps.tenants.models import Tenant
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

KIND = "logo"
NAME_LENGTH = 40


def brand_of(tenant: Tenant) -> dict[str, str]:
    """Its own "name", "colour", "logo" (a digest) and "media_type"; empty where it has none."""
    told: dict[str, Any] = tenant.settings.get("brand", {})
    return {name: str(told.get(name, "")) for name in ("name", "colour", "logo", "media_type")}


def change_brand(
    tenant: Tenant,
    *,
    name: str,
    colour: str,
    by: User,
    logo: bytes = b"",
    removes_logo: bool = False,
) -> None:
    """Show these from now on; an empty name or colour is the product's own.

    Raises InputError: "brand.colour", "logo.size", "logo.kind", "logo.broken".
    """
    wanted = {"name": " ".join(name.split())[:NAME_LENGTH], "colour": colour.lower()}
    if colour:
        palette(colour)
    if logo:
        picture, media_type = cleaned(logo)
        wanted |= {"logo": blobs().put(KIND, picture).digest, "media_type": media_type}
    elif removes_logo:
        wanted |= {"logo": "", "media_type": ""}
    with transaction.atomic():
        held = Tenant.objects.select_for_update().get(pk=tenant.pk)
        before = brand_of(held)
        held.settings = held.settings | {"brand": before | wanted}
        held.save(update_fields=["settings"])
        record("brand.change", held, by=by, before=before, after=brand_of(held))
    tenant.settings = held.settings
    if before["logo"] and before["logo"] != brand_of(tenant)["logo"]:
        blobs().delete(KIND, before["logo"])
