"""Groups of people: opened, filled and closed by a curator. A group reads what corpora grant it.

Whoever lets somebody into a group lets them read: so it is for those who look after every corpus
that the group reads. Members that a directory keeps, or that signing in names, stay theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from apps.accounts.models import ProvisionedGroup, User
from apps.audit.actions import record
from apps.corpora.models import Corpus, CorpusGrant
from apps.tenants.models import Group, GroupMember, Membership, Tenant
from apps.tenants.typed import one_line
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME_LENGTH = 120


def open_group(name: str, *, by: User) -> Group:
    """An empty one. Raises InputError: "group.name", "group.taken"."""
    name = one_line(name)
    if not 0 < len(name) <= NAME_LENGTH:
        raise InputError("group.name", limit=NAME_LENGTH)
    with transaction.atomic():
        group: Group
        group, is_new = Group.objects.get_or_create(name=name)
        if not is_new:
            raise InputError("group.taken", name=name)
        record("group.open", group, by=by)
    return group


def add_member(group: Group, address: str, tenant: Tenant, *, by: User) -> User:
    """Somebody of the tenant by their address.

    Raises InputError: "group.kept", "group.grants", "group.nobody".
    """
    require_free(group)
    require_grants(group, by)
    here = Membership.objects.of(tenant).select_related("user")
    found = here.filter(user__email=address.strip().lower(), user__is_active=True).first()
    if found is None:
        raise InputError("group.nobody")
    with transaction.atomic():
        _row, is_new = GroupMember.objects.get_or_create(group=group, user=found.user)
        if is_new:
            record("group.add", group, by=by, user=str(found.user_id))
    return found.user


def drop_member(row: GroupMember, *, by: User) -> None:
    """What the group alone let them read is shut with the next request.

    Raises InputError("group.kept").
    """
    require_free(row.group)
    with transaction.atomic():
        record("group.drop", row.group, by=by, user=str(row.user_id))
        row.delete()


def close_group(group: Group, *, by: User) -> None:
    """Its grants go with it: access narrows and never widens.

    Raises InputError: "group.kept", "group.grants".
    """
    require_free(group)
    require_grants(group, by)
    with transaction.atomic():
        record("group.close", group, by=by, members=group.memberships.count())
        group.delete()


def require_free(group: Group) -> None:
    """Raises InputError("group.kept") where a directory or the sign-in keeps it."""
    if group.follows_provider or ProvisionedGroup.objects.filter(group=group).exists():
        raise InputError("group.kept", name=group.name)


def require_grants(group: Group, by: User) -> None:
    """Raises InputError("group.grants") unless `by` looks after every corpus that the group has."""
    granted = CorpusGrant.objects.filter(group=group).values("corpus")
    own = Corpus.objects.curatable_by(by).order_by().values("pk")
    if Corpus.objects.filter(pk__in=granted).exclude(pk__in=own).exists():
        raise InputError("group.grants", name=group.name)


def kept(groups: Iterable[Group]) -> set[object]:
    """The ids of those that somebody else keeps."""
    provisioned = set(ProvisionedGroup.objects.values_list("group", flat=True))
    return {each.pk for each in groups if each.follows_provider or each.pk in provisioned}
