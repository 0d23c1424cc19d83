"""SCIM 2.0 people and groups as rows: what a directory makes, changes and ends here.

A directory belongs to one tenant and knows nobody of another. It may end a person's every session,
key and stream by one word (`active: false`), and it never gives a right to a corpus: groups do, and
only where a corpus's owner granted them. Shapes, filters and patches: RFC 7643 and 7644, by
scim2-models; what it validates and we have no column for is kept and given back as it came.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import scim2_models as scim
from django.db import transaction
from django.db.models.functions import Now

from apps.accounts.actions import end_membership
from apps.accounts.models import Provisioned, ProvisionedGroup, User
from apps.audit import actions as audit
from apps.tenants.models import Group, GroupMember, Membership, Role, Tenant

# Never kept: what a directory must not tell us, and what we compute ourselves.
NOT_KEPT = {"password", "id", "meta", "active", "groups", "members"}


# ---- people --------------------------------------------------------------------------------------


def person_of(row: Provisioned, base: str) -> scim.User[Any]:
    """The directory's view of a person."""
    told = row.resource | {
        "id": str(row.user_id),
        "active": row.active,
        "meta": meta("User", f"{base}/Users/{row.user_id}", row),
    }
    person: scim.User[Any] = scim.User.model_validate(told)
    return person


def make_person(tenant: Tenant, told: scim.User[Any], *, by: User) -> Provisioned:
    """A person whom the directory knows from now on. Raises UniquenessException.

    Somebody who is known to the site already, here or elsewhere, keeps name and password.
    """
    email = address_of(told)
    if Provisioned.objects.filter(user__email=email).exists():
        raise scim.UniquenessException(detail=f"{email} is provisioned already.")
    user = User.objects.filter(email=email).first()
    user = user or User.objects.create_user(email, name=name_of(told))
    row: Provisioned = Provisioned.objects.create(
        user=user, external_id=told.external_id or "", active=False, resource=kept(told)
    )
    audit.record("scim.create", user, by=by)
    set_active(tenant, row, is_active=told.active is not False, by=by)
    return row


def change_person(tenant: Tenant, row: Provisioned, told: scim.User[Any], *, by: User) -> None:
    """Make this person as the directory says now. Raises Mutability-, UniquenessException."""
    email = address_of(told)
    if email != row.user.email:
        rename(row, email)
    if is_ours_alone(row.user):
        User.objects.filter(pk=row.user_id).update(name=name_of(told))
    row.external_id, row.resource = told.external_id or "", kept(told)
    row.changed_at = Now()
    row.save()
    row.refresh_from_db()
    audit.record("scim.change", row.user, by=by)
    set_active(tenant, row, is_active=told.active is not False, by=by)


def rename(row: Provisioned, email: str) -> None:
    if not is_ours_alone(row.user):
        raise scim.MutabilityException(detail="This address is used beyond this directory.")
    if User.objects.filter(email=email).exists():
        raise scim.UniquenessException(detail=f"{email} is somebody else's.")
    User.objects.filter(pk=row.user_id).update(email=email)


def set_active(tenant: Tenant, row: Provisioned, *, is_active: bool, by: User) -> None:
    """Let a person in, or end all they have here at once: sessions, keys, streams."""
    if row.active == is_active:
        return
    Provisioned.objects.filter(pk=row.pk).update(active=is_active, changed_at=Now())
    row.active = is_active
    if is_active:
        User.objects.filter(pk=row.user_id).update(is_active=True)
        Membership.objects.get_or_create(
            tenant=tenant, user=row.user, defaults={"role": row.role or Role.EMPLOYEE}
        )
        audit.record("scim.activate", row.user, by=by)
        return
    membership = Membership.objects.filter(tenant=tenant, user=row.user).first()
    Provisioned.objects.filter(pk=row.pk).update(role=membership.role if membership else "")
    revoked = end_membership(tenant, row.user)
    audit.record("scim.deactivate", row.user, by=by, keys_revoked=revoked)


def forget_person(tenant: Tenant, row: Provisioned, *, by: User) -> None:
    """The directory knows them no more; the log and what they owned stay."""
    set_active(tenant, row, is_active=False, by=by)
    GroupMember.objects.filter(user=row.user).delete()
    row.delete()


def is_ours_alone(user: User) -> bool:
    """Whether this directory may rename them: no other tenant and no password of their own."""
    return not user.has_usable_password() and user.memberships.count() <= 1


def address_of(told: scim.User[Any]) -> str:
    """What people sign in as: `userName`, which has to be a mail address.

    Plain ASCII alone: other letters have twins, and some become ASCII when they are made small.
    """
    given = (told.user_name or "").strip()
    name = given.lower()
    if "@" not in name or len(name) > 254 or not (given.isascii() and given.isprintable()):
        raise scim.InvalidValueException(detail="userName must be a mail address.")
    return name


def name_of(told: scim.User[Any]) -> str:
    parts = [told.name.given_name, told.name.family_name] if told.name else []
    full = (told.name.formatted if told.name else "") or " ".join(filter(None, parts))
    return (told.display_name or full or address_of(told).partition("@")[0])[:120]


# ---- groups --------------------------------------------------------------------------------------


def group_of(row: ProvisionedGroup, base: str) -> scim.Group:
    members = GroupMember.objects.filter(group=row.group).order_by("pk")
    told = row.resource | {
        "id": str(row.group_id),
        "displayName": row.group.name,
        "members": [
            {"value": str(each.user_id), "$ref": f"{base}/Users/{each.user_id}", "type": "User"}
            for each in members
        ],
        "meta": meta("Group", f"{base}/Groups/{row.group_id}", row),
    }
    group: scim.Group = scim.Group.model_validate(told)
    return group


def make_group(told: scim.Group, *, by: User) -> ProvisionedGroup:
    """A group that the directory keeps. Raises Uniqueness-, InvalidValueException."""
    name = title_of(told)
    if Group.objects.filter(name=name).exists():
        raise scim.UniquenessException(detail="There is a group of this name.")
    group = Group.objects.create(name=name)
    row: ProvisionedGroup = ProvisionedGroup.objects.create(group=group, resource=kept(told))
    audit.record("group.create", group, by=by)
    set_members(row, told, by=by)
    return row


def change_group(row: ProvisionedGroup, told: scim.Group, *, by: User) -> None:
    name = title_of(told)
    if Group.objects.filter(name=name).exclude(pk=row.group_id).exists():
        raise scim.UniquenessException(detail="There is a group of this name.")
    Group.objects.filter(pk=row.group_id).update(name=name)
    row.group.name = name
    row.resource, row.changed_at = kept(told), Now()
    row.save()
    row.refresh_from_db()
    set_members(row, told, by=by)


def set_members(row: ProvisionedGroup, told: scim.Group, *, by: User) -> None:
    """Exactly these people. Groups do not nest: who is in one is then never a matter of loops."""
    wanted = {member_id(each) for each in told.members or []}
    theirs = GroupMember.objects.filter(group=row.group)
    before = set(theirs.values_list("user_id", flat=True))
    known = set(
        Provisioned.objects.filter(user__in=wanted - before).values_list("user_id", flat=True)
    )
    if unknown := wanted - before - known:
        raise scim.InvalidValueException(detail=f"Nobody here has the id {unknown.pop()}.")
    theirs.filter(user__in=before - wanted).delete()
    GroupMember.objects.bulk_create(
        GroupMember(group=row.group, user_id=code) for code in wanted - before
    )
    if before != wanted:
        audit.record("group.change", row.group, by=by, members=len(wanted), before=len(before))


def member_id(member: Any) -> UUID:
    if str(member.type or "User") != "User":
        raise scim.InvalidValueException(detail="A group holds people, and no other group.")
    try:
        return UUID(str(member.value))
    except ValueError:
        raise scim.InvalidValueException(detail="A member's value is a person's id.") from None


def forget_group(row: ProvisionedGroup, *, by: User) -> None:
    """The group goes, and with it every right that it carried."""
    group = row.group
    audit.record("group.remove", group, by=by, members=group.memberships.count())
    row.delete()
    group.delete()


def title_of(told: scim.Group) -> str:
    name = (told.display_name or "").strip()
    if not name or len(name) > 120 or not name.isprintable():
        raise scim.InvalidValueException(detail="displayName must have 1 to 120 characters.")
    return name


# ---- both ----------------------------------------------------------------------------------------


def kept(told: Any) -> dict[str, Any]:
    """What has no column of ours, as JSON."""
    dumped: dict[str, Any] = told.model_dump()
    return {name: value for name, value in dumped.items() if name not in NOT_KEPT}


def meta(kind: str, location: str, row: Provisioned | ProvisionedGroup) -> dict[str, str]:
    return {
        "resourceType": kind,
        "location": location,
        "created": row.created_at.isoformat(),
        "lastModified": row.changed_at.isoformat(),
    }


def locked(model: Any, **which: object) -> Any:
    """The row, held until the change is whole; None when there is none here."""
    assert transaction.get_connection().in_atomic_block  # whoever calls has a tenant's scope
    return model.objects.select_for_update(of=("self",)).filter(**which).first()
