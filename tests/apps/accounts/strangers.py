"""Objects of North for the walk of strangers."""

from __future__ import annotations

from allauth.mfa.models import Authenticator

from apps.accounts.actions import issue_key, open_service
from apps.accounts.models import Quota
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_scope
from tests.cast import Cast


def quota(cast: Cast) -> Quota:
    with tenant_scope(cast.north):
        return Quota.objects.create(kind=Quota.Kind.TOKENS, amount=10)


def passkey(cast: Cast) -> Authenticator:
    """Bo's, as a row, under a number that stands nowhere else on a page."""
    return Authenticator.objects.create(
        pk=1_810_000_017, user=cast.bo, type="webauthn", data={"name": "key"}
    )


OBJECTS = {
    "mfa_edit_webauthn": lambda cast: {"pk": passkey(cast).pk},
    "mfa_remove_webauthn": lambda cast: {"pk": passkey(cast).pk},
    # A session opens nothing here, whoever's it is: a directory comes with a key.
    "scim_user": lambda cast: {"code": cast.bo.pk},
    "scim_group": lambda cast: {"code": cast.bo.pk},
    "scim_schema": lambda _cast: {"name": "urn:ietf:params:scim:schemas:core:2.0:User"},
    "scim_kind": lambda _cast: {"name": "User"},
    "accounts:revoke": lambda cast: {"code": issue_key(cast.ada, cast.north, "script")[0].pk},
    "accounts:remove_quota": lambda cast: {"code": quota(cast).pk},
    "accounts:service_key": lambda cast: {"code": open_service(cast.north, "bot", by=cast.ada).pk},
    "accounts:new_password": lambda cast: {"code": Membership.objects.get(user=cast.bo).pk},
    "accounts:sign_out_person": lambda cast: {"code": Membership.objects.get(user=cast.bo).pk},
    "accounts:remove_person": lambda cast: {"code": Membership.objects.get(user=cast.bo).pk},
    "accounts:switch": lambda cast: {"code": cast.north.pk},
}
