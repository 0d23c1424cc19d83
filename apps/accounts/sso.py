"""What an organisation's sign-in changes here: membership and groups, never a right to a corpus."""

from __future__ import annotations

from collections.abc import Sequence

from apps.accounts.models import User
from apps.audit import actions as audit
from apps.tenants.models import Group, GroupMember, Membership, Role, Tenant
from apps.tenants.scope import tenant_scope

NAMES_AT_ONCE = 1000  # of a token that names ten thousand groups


def join_tenant(user: User, slug: str) -> None:
    """An employee of this tenant; a role that they have already stays."""
    tenant = Tenant.objects.get(slug=slug)
    with tenant_scope(tenant):
        _mine, is_new = Membership.objects.get_or_create(
            tenant=tenant, user=user, defaults={"role": Role.EMPLOYEE}
        )
        if is_new:
            audit.record("member.invite", user, by=None, role=str(Role.EMPLOYEE), by_provider=True)


def join_groups(user: User, slug: str, names: Sequence[str]) -> None:
    """Be in exactly those mapped groups that the provider names.

    A group follows the provider when it is marked so; others are kept by hand and left alone. Names
    are compared as they are written: a twin in other letters is another name.
    """
    tenant = Tenant.objects.get(slug=slug)
    if not Membership.objects.filter(tenant=tenant, user=user).exists():
        return
    with tenant_scope(tenant):
        mapped: dict[str, Group] = {}
        for start in range(0, len(names), NAMES_AT_ONCE):
            some = Group.objects.filter(
                follows_provider=True, name__in=names[start : start + NAMES_AT_ONCE]
            )
            mapped |= {group.name: group for group in some}
        theirs = GroupMember.objects.filter(user=user, group__follows_provider=True)
        before = set(theirs.values_list("group_id", flat=True))
        wanted = {group.pk for group in mapped.values()}
        theirs.filter(group_id__in=before - wanted).delete()
        GroupMember.objects.bulk_create(
            GroupMember(group_id=code, user=user) for code in wanted - before
        )
        if before != wanted:
            audit.record("group.follow", user, by=None, groups=len(wanted), before=len(before))
