"""Reading somebody else's conversation: with a reason, a second person, for an hour, in the open.

Off unless asked for each time. What the reader's own rights do not reach stays shut: an answer is
corpus text, and no role opens a corpus. The owner sees who asked, who agreed and when it was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from apps.audit import approvals
from apps.audit.actions import record
from apps.audit.models import Approval
from apps.chat.models import Conversation, Message, Role
from apps.registry.models import Composition
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User

KIND = Approval.Kind.BREAK_GLASS


def ask(code: str, *, by: User, reason: str) -> Approval:
    """Wish to read the conversation with this id, which the audit log names.

    Raises InputError: "conversation.unknown", "reason.missing".
    """
    try:
        found = Conversation.objects.filter(pk=UUID(code.strip())).exclude(owner=by).first()
    except ValueError:
        found = None
    if found is None:
        raise InputError("conversation.unknown")
    return approvals.ask(KIND, found, by=by, reason=reason)


@dataclass(frozen=True)
class Line:
    """One message as the reader sees it; `is_shut` when their own rights do not reach it."""

    message: Message
    is_shut: bool


def read(wish: Approval, *, by: User) -> list[Line]:
    """The messages, once more written down as read. Raises InputError("approval.needed")."""
    with transaction.atomic():
        if approvals.standing(KIND, wish.subject, by=by) is None and not still_open(wish, by):
            raise InputError("approval.needed", name=wish.subject_name)
        Approval.objects.filter(pk=wish.pk, spent_at=None).update(spent_at=Now())
        here = Conversation.objects.filter(pk=wish.subject).first()
        record("conversation.read", here, by=by, reason=wish.reason, approval=str(wish.pk))
    if here is None:
        return []
    usable = set(Composition.objects.usable_by(by).values_list("pk", flat=True))
    return [
        Line(message, message.role == Role.ASSISTANT and message.composition_id not in usable)
        for message in here.messages.order_by("position")
    ]


def still_open(wish: Approval, by: User) -> bool:
    """Within its hour a granted wish may be read again by whoever asked."""
    return Approval.objects.filter(pk=wish.pk, asked_by=by, granted=True, until__gt=Now()).exists()


@dataclass(frozen=True)
class Reading:
    """What the owner is told."""

    reader: str
    approver: str
    reason: str
    at: datetime


def readings(here: Conversation) -> list[Reading]:
    """Who has read this conversation by break-glass, newest first: for its owner."""
    rows = Approval.objects.filter(kind=KIND, subject=str(here.pk)).exclude(spent_at=None)
    return [
        Reading(each.asked_by.name, each.decided_by.name, each.reason, each.spent_at)
        for each in rows.select_related("asked_by", "decided_by")
    ]
