"""Conversations of one owner and their messages. Knows no model server and no page.

A question is whole when it is written; a reply begins empty and is finished once. Whether its owner
may still read it follows from the closure of the compositions that answered, asked each time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.registry.models import Composition
from apps.tenants.models import Group, Membership, TenantManager, TenantModel

if TYPE_CHECKING:
    from apps.accounts.models import User

TITLE_LENGTH = 80
FOLDER_LENGTH = 40
SILENCE = timedelta(
    seconds=30
)  # a carried reply is marked every second; silence means a dead process


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible_to(self, user: User) -> Self:
        """Their own. What may be shown of one is another matter: `with_lock`."""
        return self.filter(owner=user)

    def with_lock(self, user: User) -> Self:
        """Adds `is_locked`: some answer came from a composition that they may not use now.

        Asked as the first such answer, not as `Exists`: of that PostgreSQL makes a table of every
        message of the tenant, to look some dozens of conversations up in it.
        """
        usable = Composition.objects.usable_by(user).values("pk")
        said = Message.objects.filter(conversation=OuterRef("pk"), role=Role.ASSISTANT)
        barring = said.exclude(composition__in=usable).order_by().values("pk")[:1]
        return self.annotate(barring=Subquery(barring)).annotate(is_locked=Q(barring__isnull=False))

    def saying(self, words: str) -> Self:
        """Those whose title or messages hold these words."""
        said = Message.objects.filter(conversation=OuterRef("pk"), text__icontains=words)
        return self.filter(Q(title__icontains=words) | Exists(said))

    def with_model(self, name: str) -> Self:
        """Those that go to this model, or in which some version of it has answered."""
        answers = Message.objects.filter(conversation=OuterRef("pk"), composition__name=name)
        goes_there = Q(model=name) | Q(model__startswith=f"{name}@")
        return self.filter(goes_there | Exists(answers))


class Conversation(TenantModel):
    """Questions and replies of one owner, in order.

    model   what the next question goes to: "name" follows the alias `live`, "name@3" stays
    is_temporary   in no list, and gone an hour after its last question; it has no title
    looks_up       the next question goes with passages of the corpora that the model learned
    """

    is_locked: bool  # set by `with_lock`

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="conversations"
    )
    title = models.CharField(max_length=TITLE_LENGTH)
    model = models.CharField(max_length=140)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    pinned_at = models.DateTimeField(null=True)
    folder = models.CharField(max_length=FOLDER_LENGTH, blank=True, default="", db_default="")
    is_temporary = models.BooleanField(default=False, db_default=False)
    looks_up = models.BooleanField(default=False, db_default=False)

    objects = TenantManager.from_queryset(ConversationQuerySet)()

    class Meta:
        ordering = ["-updated_at", "pk"]
        indexes = [
            models.Index(fields=["tenant", "owner", "-updated_at"], name="conversation_of_owner")
        ]

    def __str__(self) -> str:
        return f"conversation {self.pk}"  # never the title: it is what somebody asked

    def get_absolute_url(self) -> str:
        return reverse("chat:conversation", kwargs={"code": self.pk})


class Role(models.TextChoices):
    USER = "user", _("You")
    ASSISTANT = "assistant", _("Answer")


class State(models.TextChoices):
    WAITING = "waiting", _("waiting")
    STREAMING = "streaming", _("being written")
    COMPLETE = "complete", _("complete")
    STOPPED = "stopped", _("stopped")
    FAILED = "failed", _("failed")


class Reason(models.TextChoices):
    """Why an answer was no help."""

    WRONG = "wrong", _("wrong")
    OUTDATED = "outdated", _("outdated")
    INCOMPLETE = "incomplete", _("incomplete")
    UNSAFE = "unsafe", _("unsafe")
    OTHER = "other", _("something else")


ACTIVE = (State.WAITING, State.STREAMING)
FINAL = (State.COMPLETE, State.STOPPED, State.FAILED)


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, user: User) -> Self:
        return self.filter(conversation__owner=user)

    def active(self) -> Self:
        return self.filter(state__in=ACTIVE)

    def left_behind(self, now: Any) -> Self:
        """Replies that nobody carries any more: their process ended before they did."""
        return self.active().filter(seen_at__lt=now - SILENCE)


class Message(TenantModel):
    """One question, or one reply with exactly what made it.

    parent     the question that an answer answers
    follows    the answer that a question comes after; None for a first question
    settings   what was sent to the model server beside the messages: temperature, max_tokens; with
               "gate": 0 the anchor answered without the private model
    looks_up   whether passages were to be put before the question
    passages   ids of those that were, the best first; one that is gone since is no longer shown
    usage      tokens of prompt and answer, as the model server counted them
    failure    a code; `failure_text` is its sentence as it was said
    rating     1 or -1 by whoever asked
    """

    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages", db_index=False
    )
    position = models.PositiveIntegerField()
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="replies")
    follows = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, related_name="followed_by"
    )
    role = models.CharField(max_length=10, choices=Role)
    text = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State)
    composition = models.ForeignKey(
        Composition, on_delete=models.PROTECT, null=True, related_name="+"
    )
    seed = models.BigIntegerField(null=True)
    settings = models.JSONField(default=dict)
    looks_up = models.BooleanField(default=False, db_default=False)
    passages = ArrayField(models.UUIDField(), default=list, db_default=[])
    usage = models.JSONField(default=dict)
    failure = models.CharField(max_length=60, blank=True)
    failure_text = models.TextField(blank=True)
    rating = models.SmallIntegerField(null=True)
    rating_reason = models.CharField(
        max_length=12, choices=Reason, blank=True, default="", db_default=""
    )
    rating_text = models.TextField(blank=True, default="", db_default="")
    stop_asked_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = TenantManager.from_queryset(MessageQuerySet)()

    class Meta:
        ordering = ["conversation", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "conversation", "position"], name="message_place_once"
            ),
            models.UniqueConstraint(
                fields=["tenant", "conversation"],
                condition=Q(state__in=[state.value for state in ACTIVE]),
                name="message_one_reply_at_a_time",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in ACTIVE], finished_at=None)
                | Q(state__in=[state.value for state in FINAL], finished_at__isnull=False),
                name="message_finished_when_final",
            ),
            models.CheckConstraint(
                condition=Q(state="failed") & ~Q(failure="") | ~Q(state="failed") & Q(failure=""),
                name="message_failure_when_failed",
            ),
            models.CheckConstraint(
                condition=Q(role="user", parent=None, composition=None, state="complete")
                | Q(role="assistant", parent__isnull=False, composition__isnull=False),
                name="message_reply_has_its_maker",
            ),
            models.CheckConstraint(
                condition=Q(role="user") | Q(follows=None), name="message_question_follows"
            ),
            models.CheckConstraint(
                condition=Q(rating=None) | Q(rating__in=[-1, 1], role="assistant"),
                name="message_answer_is_rated",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} message {self.pk}"

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def question(self) -> Message:
        """What this reply answers."""
        assert self.parent is not None  # a constraint of the table
        return self.parent

    @property
    def is_by_anchor_alone(self) -> bool:
        """Whether the private model was switched off for this answer."""
        return bool(self.settings.get("gate") == 0)

    @property
    def maker(self) -> Composition:
        """What wrote this reply."""
        assert self.composition is not None  # a constraint of the table
        return self.composition


class ShareQuerySet(models.QuerySet["Share"]):
    def standing(self) -> Self:
        """Those whose owner still belongs here, and has since they shared it.

        With somebody who left, their shares end; who comes back shares anew.
        """
        here = Membership.objects.filter(
            tenant=OuterRef("tenant"),
            user=OuterRef("conversation__owner"),
            user__is_active=True,
            created_at__lte=OuterRef("created_at"),
        )
        return self.filter(Exists(here))

    def visible_to(self, user: User) -> Self:
        """Shared with them, and they may use every model that answered in it, now."""
        usable = Composition.objects.usable_by(user).values("pk")
        said = Message.objects.filter(
            conversation=OuterRef("conversation"), role=Role.ASSISTANT
        ).exclude(composition__in=usable)
        groups = Group.objects.filter(members=user)
        to_them = self.standing().filter(Q(user=user) | Q(group__in=groups))
        return to_them.exclude(Exists(said))


class Share(TenantModel):
    """One conversation, to be read by one colleague or one group; nothing of it is copied.

    It gives no right to a corpus: whoever may not use what answered does not see that it is there.
    """

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="shares")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+"
    )
    group = models.ForeignKey(Group, on_delete=models.CASCADE, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(ShareQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user=None, group__isnull=False) | Q(user__isnull=False, group=None),
                name="share_with_exactly_one",
            ),
            models.UniqueConstraint(
                fields=["tenant", "conversation", "user", "group"],
                name="share_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"share of {self.conversation_id}"

    @property
    def reader(self) -> str:
        return str(self.user.name if self.user else self.group)

    def get_absolute_url(self) -> str:
        return reverse("chat:shared", kwargs={"code": self.pk})


class DraftQuerySet(models.QuerySet["Draft"]):
    def visible_to(self, user: User) -> Self:
        return self.filter(owner=user)


class Draft(TenantModel):
    """What somebody began to write and has not asked: one a conversation, and one for a new one.

    Kept here and not in the browser, which others may sit down at. Nobody else reads it: no export,
    no share and no break-glass holds it.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, null=True, related_name="drafts"
    )
    text = models.TextField()
    updated_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(DraftQuerySet)()

    class Meta:
        ordering = ["-updated_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "owner", "conversation"],
                name="draft_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(condition=~Q(text=""), name="draft_says_something"),
        ]

    def __str__(self) -> str:
        return f"draft {self.pk}"  # never its text
