"""Objects of North for the walk of strangers."""

from __future__ import annotations

from apps.accounts.actions import issue_key
from apps.tenants.models import Membership

OBJECTS = {
    "accounts:revoke": lambda cast: {"code": issue_key(cast.ada, cast.north, "script")[0].pk},
    "accounts:remove_person": lambda cast: {"code": Membership.objects.get(user=cast.bo).pk},
    "accounts:switch": lambda cast: {"code": cast.north.pk},
}
