"""Removes what identifies a person, in the tenant in scope. Knows no document and no conversation.

The row of a person stays, without a name: the log names its id, and other rows point at it.
"""

from __future__ import annotations

from typing import Any

from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.sessions.models import Session
from django.db import models

from apps.accounts.models import ApiKey, Provisioned, Quota, User
from apps.tenants.models import GroupMember, Membership, TenantModel
from apps.tenants.scope import current_tenant_id

NAMELESS = "Forgotten person"
TRACES = (AccessAttempt, AccessFailureLog, AccessLog)


def forget_account(user: User) -> dict[str, int]:
    """Membership, groups, keys and limits here; for who is nowhere else, name and sign-in too."""
    tenant = current_tenant_id()
    here: list[Any] = [
        Membership.objects.filter(tenant=tenant, user=user),
        ApiKey.objects.filter(tenant=tenant, user=user),
        GroupMember.objects.filter(user=user),
        Provisioned.objects.filter(user=user),
        Quota.objects.filter(user=user),
    ]
    gone = {rows.model._meta.model_name: rows.delete()[0] for rows in here}
    if not Membership.objects.filter(user=user).exists():
        gone |= forget_everywhere(user)
    return {name: count for name, count in gone.items() if count}


def forget_everywhere(user: User) -> dict[str, int]:
    """Sessions, factors, addresses and providers, traces of sign-ins, then name and address."""
    names = list(UserSession.objects.filter(user=user).values_list("session_key", flat=True))
    rows: list[Any] = [
        Session.objects.filter(session_key__in=names),
        *(each.related_model.objects.filter(**{each.field.name: user}) for each in alone_theirs()),
        *(each.objects.filter(username=user.email) for each in TRACES),
    ]
    gone = {each.model._meta.model_name: each.delete()[0] for each in rows}
    user.name, user.email, user.is_active = NAMELESS, f"{user.pk}@forgotten.invalid", False
    user.set_unusable_password()
    user.save(update_fields=["name", "email", "is_active", "password"])
    return gone | {"name": 1}


def alone_theirs() -> list[Any]:
    """What goes with a person and is no tenant's: whatever an app of signing in keeps of them."""
    return [
        each
        for each in User._meta.related_objects
        if getattr(each, "on_delete", None) is models.CASCADE
        and not issubclass(each.related_model, TenantModel)
    ]
