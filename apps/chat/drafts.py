"""Questions that were begun and not asked: kept on the server for whoever wrote them, for a month.

One a conversation and one for a new one. Knows no page.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.functions import Now

from apps.chat.actions import QUESTION_LENGTH
from apps.chat.models import Conversation, Draft
from apps.tenants.typed import storable
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User

KEPT = timedelta(days=30)  # since the last stroke


def keep(text: str, here: Conversation | None, *, by: User) -> None:
    """Put this in the place of what was kept; without a word in it, nothing is kept.

    A temporary conversation keeps none. Raises InputError("question.too_long").
    """
    text = storable(text)
    if len(text) > QUESTION_LENGTH:
        raise InputError("question.too_long", length=len(text), limit=QUESTION_LENGTH)
    if not text.strip() or (here is not None and here.is_temporary):
        drop(here, by=by)
        return
    Draft.objects.update_or_create(
        owner=by, conversation=here, defaults={"text": text, "updated_at": Now()}
    )


def kept(here: Conversation | None, user: User) -> str:
    """What they began to write here, or nothing."""
    rows = Draft.objects.filter(owner=user, conversation=here)
    return rows.values_list("text", flat=True).first() or ""


def drop(here: Conversation | None, *, by: User) -> None:
    Draft.objects.filter(owner=by, conversation=here).delete()


def lapsed() -> Any:
    """Those that nobody went on with."""
    return Draft.objects.filter(updated_at__lt=Now() - models.Value(KEPT))
