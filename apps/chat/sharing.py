"""Showing somebody else a conversation as it stood: each opening asks the rights of who opens.

A share is a frozen copy without copying: messages never change once they are written, so the way up
to one answer stays what it was. It lends nobody the rights of its owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.actions import record
from apps.chat.models import Message, Share, ShareViewer
from apps.chat.tree import way
from apps.registry.closure import lacking
from apps.registry.models import Composition
from apps.tenants.models import Group, Membership
from apps.tenants.scope import current_tenant_id
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.corpora.models import Corpus

MOST_PEOPLE = 50  # named in one share
DAYS = (1, 7, 30, 0)  # 0: until it is taken back


def share(
    answer: Message,
    *,
    by: User,
    people: Sequence[str] = (),
    groups: Sequence[str] = (),
    everybody: bool = False,
    days: int = 30,
) -> Share:
    """Show these people everything up to this answer.

    people  their e-mail addresses; groups  the ids of groups; everybody  of the tenant
    Raises InputError: "share.nobody", "share.unknown", "share.temporary", "reply.active".
    """
    if answer.conversation.is_temporary:
        raise InputError("share.temporary", "A temporary conversation cannot be shared.")
    if answer.is_active:
        raise InputError("reply.active", "Wait until the answer is written, or stop it.")
    users, chosen = _users(people), list(Group.objects.filter(pk__in=_ids(groups)))
    if not (users or chosen or everybody):
        raise InputError("share.nobody", "Say who should see it: people, a group, or everybody.")
    until = timezone.now() + timedelta(days=days) if days in DAYS and days else None
    with transaction.atomic():
        made: Share = Share.objects.create(
            conversation=answer.conversation,
            upto=answer,
            title=answer.conversation.title,
            everybody=everybody,
            expires_at=until,
        )
        for user in users:
            ShareViewer.objects.create(share=made, user=user)
        for group in chosen:
            ShareViewer.objects.create(share=made, group=group)
        record("chat.share", made, by=by, people=len(users), groups=len(chosen), all=everybody)
    return made


def revoke(shared: Share, *, by: User) -> None:
    """Nobody opens it from now on."""
    if Share.objects.filter(pk=shared.pk, revoked_at=None).update(revoked_at=Now()):
        record("chat.unshare", shared, by=by)


def opened(shared: Share, user: User) -> list[Message]:
    """The messages, for somebody who may use all that answered; counts the opening.

    Raises InputError("share.locked") when they may not: no word of it is told then.
    """
    messages = _messages(shared)
    makers = {message.composition_id for message in messages if message.composition_id}
    usable = Composition.objects.usable_by(user).filter(pk__in=makers)
    if usable.count() < len(makers):
        names = ", ".join(corpus.name for corpus in _missing(shared, user))
        raise InputError(
            "share.locked",
            "What answered here learned what you may not read"
            + (f": {names}. " if names else ". ")
            + "Ask the owners for the right; whoever shared it cannot lend theirs.",
        )
    if user.pk != shared.conversation.owner_id:
        Share.objects.filter(pk=shared.pk).update(opened=F("opened") + 1)
    return messages


@dataclass(frozen=True)
class Barred:
    """Somebody who was shown it and cannot open it, and what they may not read."""

    user: User
    missing: Sequence[Corpus]


def barred(shared: Share) -> list[Barred]:
    """Of the people named, alone or by a group, those who cannot open it now."""
    rows = ShareViewer.objects.filter(share=shared)
    users = User.objects.filter(pk__in=rows.exclude(user=None).values("user"))
    members = User.objects.filter(groups_in_tenants__in=rows.exclude(group=None).values("group"))
    named = (users | members).distinct().order_by("name")[:MOST_PEOPLE]
    told = [Barred(user, _missing(shared, user)) for user in named]
    return [each for each in told if each.missing]


def _missing(shared: Share, user: User) -> list[Corpus]:
    makers = {message.composition_id for message in _messages(shared) if message.composition_id}
    found = lacking(user, list(Composition.objects.filter(pk__in=makers)))
    return sorted({corpus for each in found.values() for corpus in each}, key=str)


def _messages(shared: Share) -> list[Message]:
    said = list(shared.conversation.messages.select_related("composition").order_by("position"))
    shown = [spot.message for spot in way(said, shared.upto_id)]
    return shown[: 1 + next(n for n, each in enumerate(shown) if each.pk == shared.upto_id)]


def _users(addresses: Sequence[str]) -> list[User]:
    wanted = {each.strip().lower() for each in addresses if each.strip()}
    here = Membership.objects.filter(tenant=current_tenant_id()).values("user")
    found = list(User.objects.filter(pk__in=here, email__in=wanted, is_active=True))
    unknown = wanted - {user.email.lower() for user in found}
    if unknown or len(wanted) > MOST_PEOPLE:
        names = ", ".join(sorted(unknown)[:5])
        raise InputError(
            "share.unknown",
            f"Nobody of the organisation has this address: {names}."
            if unknown
            else f"At most {MOST_PEOPLE} people can be named. Make them a group.",
        )
    return found


def _ids(groups: Sequence[str]) -> list[UUID]:
    found = []
    for each in groups:
        try:
            found.append(UUID(each))
        except ValueError:
            continue  # nonsense names no group
    return found
