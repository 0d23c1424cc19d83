"""Objects of North for the walk of strangers."""

from __future__ import annotations

from uuid import UUID

from apps.tenants.models import Membership
from tests.cast import Cast


def of_person(cast: Cast) -> dict[str, UUID]:
    return {"code": Membership.objects.get(tenant=cast.north, user=cast.bo).pk}


OBJECTS = {"person": of_person}
