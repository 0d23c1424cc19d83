"""Verbs of the chat: ask, ask again, stop, finish, rename, delete. Each is one short transaction.

Texts go into rows and nowhere else: the audit and the log get ids, counts and codes.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils import timezone

from apps.accounts import quotas
from apps.accounts.models import Quota
from apps.audit import holds
from apps.audit.actions import record
from apps.audit.models import Hold
from apps.chat.models import ACTIVE, TITLE_LENGTH, Conversation, Message, Role, State
from apps.corpora.lookup import Meaning, passages_for
from apps.corpora.models import Passage
from apps.registry import hosts
from apps.registry.closure import can_use
from apps.registry.models import Composition
from apps.tenants.models import Membership
from apps.tenants.typed import one_line, storable
from calm_engine.errors import InputError
from calm_engine.passages import with_passages
from counterpoint.live import publish

if TYPE_CHECKING:
    from apps.accounts.models import User

QUESTION_LENGTH = 32_000  # characters; some 8,000 tokens, more than most models read at once
HISTORY_LENGTH = 6_000  # characters of earlier turns sent along; less when the model takes less
AT_ONCE = 8  # replies that one person may have under way in all their conversations
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 512}
VARIED: dict[str, Any] = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512}

Turn = tuple[str, str]  # question, answer


# ---- people --------------------------------------------------------------------------------------


def open_conversation(model: str, *, by: User, is_temporary: bool = False) -> Conversation:
    """A conversation with this model, without a message yet. Raises InputError as `ask` does."""
    _usable(model, by)
    conversation: Conversation = Conversation.objects.create(
        owner=by, model=model, is_temporary=is_temporary
    )
    return conversation


def ask(
    conversation: Conversation, text: str, *, by: User, after: Message | None = None
) -> Message:
    """Write the question and its empty reply; whoever calls starts the relay after the commit.

    after  the answer that was read before this was asked; without it the newest

    Raises InputError: "question.empty", "question.too_long", "model.not_usable", "reply.active",
    "reply.too_many", "quota.used".
    """
    said = conversation.messages.filter(role=Role.ASSISTANT).order_by("position")
    return _asked(conversation, text, after or said.last(), by=by)


def edit(question: Message, text: str, *, by: User) -> Message:
    """Ask something else in this question's place: a sibling of it, and its empty reply.

    Raises InputError as `ask` does.
    """
    return _asked(question.conversation, text, question.follows, by=by)


def ask_again(reply: Message, *, by: User) -> Message:
    """Another empty reply to the same question, from what the model's name means now.

    One that is whole would only be repeated: then chance has a part. Raises InputError as `ask`.
    """
    settings = VARIED if reply.state == State.COMPLETE else GREEDY
    return _replied(reply, settings, by=by)


def ask_anchor(reply: Message, *, by: User) -> Message:
    """Another empty reply, by the anchor without the private model; all else is the same.

    Raises InputError as `ask` does.
    """
    return _replied(reply, {**reply.settings, "gate": 0}, by=by, seed=reply.seed)


def _asked(conversation: Conversation, text: str, after: Message | None, *, by: User) -> Message:
    text = _checked(text)
    composition = _usable(conversation.model, by)
    within_limits(by)
    with transaction.atomic():
        place = _next_place(conversation)
        question = Message.objects.create(
            conversation=conversation,
            position=place,
            follows=after,
            role=Role.USER,
            text=text,
            state=State.COMPLETE,
            finished_at=Now(),
        )
        if not conversation.is_temporary:
            conversation.title = conversation.title or title_from(text)
        conversation.save(update_fields=["title", "model", "looks_up"])
        return _empty_reply(question, composition, place + 1, GREEDY, by=by)


def _replied(
    reply: Message, settings: dict[str, Any], *, by: User, seed: int | None = None
) -> Message:
    composition = _usable(reply.conversation.model, by)
    within_limits(by)
    with transaction.atomic():
        place = _next_place(reply.conversation)
        return _empty_reply(reply.question, composition, place, settings, by=by, seed=seed)


def stop(reply: Message, *, by: User) -> None:
    """Ask whoever carries this reply to end it; nothing happens when it has ended already."""
    asked = Message.objects.active().filter(pk=reply.pk, stop_asked_at=None)
    if asked.update(stop_asked_at=Now()):
        record("chat.stop", reply, by=by)
        # Wakes the relay at once. Should this be lost, it finds the row's wish within a second.
        transaction.on_commit(lambda: publish(stop_topic(reply.pk), {"stop": True}))


def title_from(question: str) -> str:
    """What a conversation is called until its owner says otherwise."""
    return question[:TITLE_LENGTH].replace("\n", " ")


def rename(conversation: Conversation, title: str) -> None:
    """Raises InputError("title.empty")."""
    title = one_line(title)[:TITLE_LENGTH]
    if not title:
        raise InputError("title.empty")
    conversation.title = title
    conversation.save(update_fields=["title"])


def delete(conversation: Conversation, *, by: User) -> None:
    """Delete a conversation with all its messages; a reply under way ends.

    Raises InputError("hold.stands") while its owner's conversations are held.
    """
    holds.require_free(Hold.Kind.PERSON, conversation.owner_id)
    for reply in conversation.messages.active():
        stop(reply, by=by)
    record("chat.delete", conversation, by=by, messages=conversation.messages.count())
    conversation.delete()


def _checked(text: str) -> str:
    text = storable(text).strip()
    if not text:
        raise InputError("question.empty")
    if len(text) > QUESTION_LENGTH:
        raise InputError("question.too_long", length=len(text), limit=QUESTION_LENGTH)
    return text


def _usable(model: str, by: User) -> Composition:
    composition = hosts.model_named(model, by=by)
    if composition is None:
        raise InputError("model.not_usable")
    return composition


def within_limits(by: User) -> None:
    """Count one question. Raises InputError("quota.used"); an answer under way ends properly."""
    quotas.require(by, Quota.Kind.REQUESTS, Quota.Kind.TOKENS)
    quotas.spend(by, Quota.Kind.REQUESTS)


def _next_place(conversation: Conversation) -> int:
    """The place after the last message; the row's lock lets one question in at a time."""
    Conversation.objects.select_for_update().get(pk=conversation.pk)
    last = conversation.messages.aggregate(last=Max("position"))["last"]
    return int(last or 0) + 1


def _empty_reply(
    question: Message,
    composition: Composition,
    place: int,
    settings: dict[str, Any],
    *,
    by: User,
    seed: int | None = None,
) -> Message:
    under_way = Message.objects.visible_to(by).active()
    if under_way.count() >= AT_ONCE:
        raise InputError("reply.too_many")
    try:
        with transaction.atomic():
            reply: Message = Message.objects.create(
                conversation=question.conversation,
                position=place,
                parent=question,
                role=Role.ASSISTANT,
                state=State.WAITING,
                composition=composition,
                seed=secrets.randbelow(2**31) if seed is None else seed,
                settings=settings,
                looks_up=question.conversation.looks_up,
            )
    except IntegrityError as error:
        raise InputError("reply.active") from error
    Conversation.objects.filter(pk=question.conversation_id).update(updated_at=Now())
    name = hosts.exact_name(composition)
    record("chat.ask", reply, by=by, model=name, characters=len(question.text))
    return reply


# ---- the relay -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What a relay needs to know of one reply.

    turns      earlier questions with their answers, oldest first
    caller     who asks, to the model server: an id that tells it nothing but whose turn it is
    looks_up   passages are to be found for it
    passages   to be put before the question, the best first
    """

    model: str
    settings: dict[str, Any]
    turns: Sequence[Turn]
    question: str
    caller: str
    looks_up: bool = False
    passages: Sequence[Passage] = ()

    def messages(self) -> list[dict[str, str]]:
        """In OpenAI's shape."""
        said = [(role, text) for turn in self.turns for role, text in zip(Role, turn, strict=True)]
        asked = with_passages(self.question, [passage.body.strip() for passage in self.passages])
        said.append((Role.USER, asked))
        return [{"role": str(role), "content": text} for role, text in said]

    def lessened(self) -> Work | None:
        """The same with less to read: half of the turns, then half of the passages, then None.

        The model alone knows what fits.
        """
        if self.turns:
            return replace(self, turns=self.turns[(len(self.turns) + 1) // 2 :])
        if self.passages:
            return replace(self, passages=self.passages[: len(self.passages) // 2])
        return None


@dataclass(frozen=True)
class Place:
    """Where a composition is served now; no addresses: nowhere, though perhaps soon."""

    addresses: hosts.Addresses
    is_starting: bool


def stop_topic(reply_id: UUID) -> str:
    return f"reply:{reply_id}:stop"


def begin_reply(reply_id: UUID) -> Work | None:
    """What is to be carried, or None when the reply is gone or has ended."""
    waiting = Message.objects.filter(pk=reply_id, state=State.WAITING)
    reply = waiting.select_related("conversation__owner", "composition", "parent").first()
    if reply is None:
        return None
    return replace(work_of(reply), looks_up=reply.looks_up)


def look_up(reply_id: UUID, meaning: Meaning | None) -> list[Passage]:
    """What of the corpora behind the model of this reply fits its question.

    meaning   what the question is about, where that is known
    Whoever may use the model may read all of them: asked again here, the right may have ended.
    """
    told = Message.objects.select_related("conversation__owner", "composition", "parent")
    reply = told.filter(pk=reply_id).first()
    if reply is None or not can_use(reply.conversation.owner, reply.maker):
        return []
    return passages_for(reply.maker.closure, reply.question.text, meaning)


def work_of(reply: Message) -> Work:
    """What the model was asked, or is to be asked, for this reply."""
    sampling = {**reply.settings, "seed": reply.seed}
    held = Passage.objects.in_bulk(reply.passages)
    read = [held[each] for each in reply.passages if each in held]
    turns, question = _turns_before(reply), reply.question.text
    caller = str(reply.conversation.owner_id)
    return Work(reply.maker.name, sampling, turns, question, caller, passages=read)


def _turns_before(reply: Message) -> list[Turn]:
    """The newest turns of this way that fit, oldest first; failed answers are left out."""
    said: dict[Any, Message] = {each.pk: each for each in reply.conversation.messages.all()}
    turns: list[Turn] = []
    room = HISTORY_LENGTH
    answer = said.get(reply.question.follows_id)
    while answer is not None:
        question = said[answer.parent_id]
        if answer.text and answer.state != State.FAILED:
            room -= len(question.text) + len(answer.text)
            if room < 0:
                break
            turns.append((question.text, answer.text))
        answer = said.get(question.follows_id)
    return turns[::-1]


def place_of(reply_id: UUID) -> Place:
    """Where the composition of this reply is served now. Renews the reply's sign of life."""
    Message.objects.active().filter(pk=reply_id).update(seen_at=Now())
    reply = Message.objects.select_related("composition", "conversation").get(pk=reply_id)
    addresses = hosts.addresses_of(reply.maker, caller=str(reply.conversation.owner_id))
    if not addresses:
        hosts.wake(reply.maker)
    return Place(addresses, hosts.is_starting(reply.maker, now=timezone.now()))


class Verdict:
    """What `keep_reply` may say: go on, or why to end."""

    GO_ON, STOPPED, BARRED, GONE = "go on", "stopped", "barred", "gone"


def keep_reply(reply_id: UUID, text: str) -> str:
    """Keep what is written so far, show life, and say whether to go on: a `Verdict`.

    The right to use the composition is asked of the database each time, and so is membership: both
    may have ended since the question.
    """
    state = State.STREAMING if text else State.WAITING
    kept = Message.objects.active().filter(pk=reply_id)
    if not kept.update(text=text, state=state, seen_at=Now()):
        return Verdict.GONE
    told = Message.objects.select_related("conversation__owner", "composition", "tenant")
    reply = told.get(pk=reply_id)
    if reply.stop_asked_at is not None:
        return Verdict.STOPPED
    owner = reply.conversation.owner
    belongs = Membership.objects.filter(tenant=reply.tenant, user=owner).exists()
    if not (owner.is_active and belongs and can_use(owner, reply.maker)):
        return Verdict.BARRED
    return Verdict.GO_ON


def finish_reply(
    reply_id: UUID,
    text: str,
    *,
    state: State,
    usage: dict[str, int] | None = None,
    passages: Sequence[UUID] = (),
    failure: str = "",
    failure_text: str = "",
) -> bool:
    """Write the reply's end, once: False when it had ended, or was deleted, before."""
    moved: int = (
        Message.objects.active()
        .filter(pk=reply_id)
        .update(
            text=text,
            state=state,
            usage=usage or {},
            passages=list(passages),
            failure=failure,
            failure_text=failure_text,
            seen_at=Now(),
            finished_at=Now(),
        )
    )
    if moved and usage:
        reply = Message.objects.select_related("conversation__owner").get(pk=reply_id)
        tokens = int(usage.get("total_tokens", 0))
        quotas.spend(reply.conversation.owner, Quota.Kind.TOKENS, tokens)
    return bool(moved)


def close_left_behind(now: datetime) -> list[UUID]:
    """End the replies of the tenant in scope whose process died; their text so far is kept.

    Returns their ids. Called by housekeeping, per tenant; a second call finds nothing.
    """
    closed = []
    for reply in Message.objects.left_behind(now):
        moved = Message.objects.left_behind(now).filter(pk=reply.pk, state__in=ACTIVE)
        if moved.update(
            state=State.FAILED,
            failure="reply.interrupted",
            failure_text="The answer was interrupted because the site was restarted. Ask again.",
            finished_at=Now(),
        ):
            closed.append(reply.pk)
    return closed
