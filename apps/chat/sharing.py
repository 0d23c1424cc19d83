"""Lets colleagues read a conversation. What they may read of it is asked whenever they open it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.accounts.models import User
from apps.audit.actions import record
from apps.chat.models import Conversation, Share
from apps.tenants.models import Group, Membership
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


def share(conversation: Conversation, whom: str, *, by: User) -> Share:
    """With a colleague by their address, or with a group by its name; a second time is the first.

    Raises InputError: "share.nobody", "share.own", "share.locked", "share.temporary".
    """
    if conversation.is_temporary:
        raise InputError("share.temporary")
    if Conversation.objects.with_lock(by).get(pk=conversation.pk).is_locked:
        raise InputError("share.locked")
    reader = named(conversation, whom.strip())
    if reader == by:
        raise InputError("share.own")
    kind = "user" if isinstance(reader, User) else "group"
    bound: dict[str, Any] = {"user": None, "group": None} | {kind: reader}
    with transaction.atomic():
        made: Share
        made, is_new = Share.objects.get_or_create(conversation=conversation, **bound)
        if is_new:
            record("chat.share", conversation, by=by, **{kind: str(reader.pk)})
    return made


def named(conversation: Conversation, whom: str) -> User | Group:
    """The member or the group. Raises InputError("share.nobody")."""
    people = Membership.objects.filter(tenant=conversation.tenant_id, user__is_active=True)
    found = people.filter(user__email=whom.lower()).select_related("user").first()
    if found is not None:
        return found.user
    group: Group | None = Group.objects.filter(name=whom).first()
    if group is None:
        raise InputError("share.nobody")
    return group


def withdraw(shared: Share, *, by: User) -> None:
    """End it: whoever has it open reads no further page of it."""
    record("chat.unshare", shared.conversation, by=by, share=str(shared.pk))
    shared.delete()


def with_me(user: User) -> Iterable[Share]:
    """What colleagues share with this person and they may read, newest first, once each."""
    rows = Share.objects.visible_to(user).exclude(conversation__owner=user)
    seen: dict[Any, Share] = {}
    for each in rows.select_related("conversation__owner").order_by("-created_at"):
        seen.setdefault(each.conversation_id, each)
    return list(seen.values())


def of_mine(user: User) -> Any:
    """Shares of this person's own conversations."""
    return Share.objects.filter(conversation__owner=user).select_related("user", "group")
