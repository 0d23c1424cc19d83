"""What people do with conversations and answers that are there: pin, file, rate, fork, write out.

Each verb is one short transaction. Texts go into rows and files of whoever asks, never into a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now

from apps.audit.actions import record
from apps.chat.models import FOLDER_LENGTH, TITLE_LENGTH, Conversation, Message, Reason, Role
from apps.chat.tree import way
from apps.tenants.typed import one_line, storable
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User

REMARK_LENGTH = 1000


def pin(conversation: Conversation) -> None:
    """Keep it on top of the list; once more lets it go."""
    kept = Conversation.objects.filter(pk=conversation.pk)
    kept.update(pinned_at=None if conversation.pinned_at else Now())


def file_under(conversation: Conversation, folder: str) -> None:
    """Show it in this folder; an empty name takes it out. A folder is as long as it holds one."""
    name = one_line(folder)[:FOLDER_LENGTH]
    Conversation.objects.filter(pk=conversation.pk).update(folder=name)


def rate(answer: Message, rating: int, *, reason: str = "", text: str = "") -> None:
    """Say that an answer helped (1) or not (-1), and why not; 0 takes it back.

    A temporary conversation leaves nothing behind, and no rating either.
    Raises InputError: "rating.unknown", "rating.temporary".
    """
    if rating not in (-1, 0, 1) or answer.role != Role.ASSISTANT:
        raise InputError("rating.unknown")
    if answer.conversation.is_temporary:
        raise InputError("rating.temporary")
    is_bad = rating == -1
    answer.rating = rating or None
    answer.rating_reason = reason if is_bad and reason in Reason.values else ""
    answer.rating_text = storable(text).strip()[:REMARK_LENGTH] if is_bad else ""
    answer.save(update_fields=["rating", "rating_reason", "rating_text"])


def fork(answer: Message, *, by: User) -> Conversation:
    """A new conversation that begins with everything up to this answer; the old one stays.

    Raises InputError("reply.active") while the answer is being written.
    """
    if answer.is_active:
        raise InputError("reply.active")
    old = answer.conversation
    said = list(old.messages.order_by("position"))
    upto = [spot.message for spot in way(said, answer.pk)]
    upto = upto[: upto.index(answer) + 1]
    with transaction.atomic():
        new: Conversation = Conversation.objects.create(
            owner=by,
            model=old.model,
            looks_up=old.looks_up,
            title=(old.title or upto[0].text)[:TITLE_LENGTH],
        )
        _copy(upto, new)
        record("chat.fork", new, by=by, messages=len(upto))
    return new


def _copy(messages: Sequence[Message], new: Conversation) -> None:
    """Each hangs on the one before it: the way has no branches."""
    before: Message | None = None
    for place, message in enumerate(messages, 1):
        is_question = message.role == Role.USER
        before = Message.objects.create(
            conversation=new,
            position=place,
            follows=before if is_question else None,
            parent=None if is_question else before,
            role=message.role,
            text=message.text,
            state=message.state,
            composition_id=message.composition_id,
            seed=message.seed,
            settings=message.settings,
            looks_up=message.looks_up,
            passages=message.passages,
            usage=message.usage,
            failure=message.failure,
            failure_text=message.failure_text,
            finished_at=message.finished_at,
        )


def written_out(title: str, messages: Sequence[Message]) -> str:
    """A conversation as Markdown: who said what, and which version answered."""
    parts = [f"# {title}"] if title else []
    for message in messages:
        if message.role == Role.USER:
            parts.append("## You")
        else:
            alone = ", without the private model" if message.is_by_anchor_alone else ""
            parts.append(f"## {message.composition}{alone}")
        parts.append(message.text or message.failure_text)
    return "\n\n".join(parts) + "\n"
