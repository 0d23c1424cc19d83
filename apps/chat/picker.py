"""What a person may choose to ask, and what each model knows. Knows no conversation's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.utils import timezone

from apps.chat.models import Conversation
from apps.corpora.models import Corpus, Example
from apps.registry import hosts
from apps.registry.closure import why_not
from apps.registry.models import Composition
from apps.tenants.models import Tenant

if TYPE_CHECKING:
    from apps.accounts.models import User

STARTERS = 3


@dataclass(frozen=True)
class Choice:
    """One live model as one person sees it.

    knows_until   when the newest documents that it learned were frozen
    state         "ready", "starting", "resting" (a training has its accelerator) or "off"
    missing       corpora that this person may not read; empty when they may use the model
    """

    name: str
    composition: Composition
    knows_until: datetime
    state: str
    is_usable: bool
    missing: Sequence[Corpus] = ()


def choices(user: User, tenant: Tenant) -> list[Choice]:
    """Every live model: usable ones first, then locked ones where the tenant shows them."""
    usable = set(Composition.objects.usable_by(user).live().values_list("pk", flat=True))
    shows_locked = tenant.settings.get("show_locked_models", True)
    found = []
    for composition in Composition.objects.live().select_related("snapshot").order_by("name"):
        if composition.pk in usable:
            found.append(_choice(composition, is_usable=True))
        elif shows_locked:
            missing = why_not(user, composition)
            found.append(_choice(composition, is_usable=False, missing=missing))
    return sorted(found, key=lambda choice: not choice.is_usable)


def _choice(composition: Composition, *, is_usable: bool, missing: Sequence[Corpus] = ()) -> Choice:
    until = composition.snapshot.created_at
    return Choice(composition.name, composition, until, _state(composition), is_usable, missing)


def _state(composition: Composition) -> str:
    now = timezone.now()
    if hosts.address_of(composition):
        return "ready"
    if hosts.is_starting(composition, now=now):
        return "starting"
    return "resting" if hosts.is_resting(composition, now=now) else "off"


def last_used(user: User, among: Sequence[Choice]) -> str:
    """The model of their newest conversation, if they still may; else the first they may."""
    names = [choice.name for choice in among if choice.is_usable]
    newest = Conversation.objects.visible_to(user).filter(model__in=names).first()
    return newest.model if newest else (names[0] if names else "")


def starters(user: User, choice: Choice) -> list[str]:
    """A few questions that this model should be able to answer, from corpora this person reads."""
    rows = Example.objects.visible_to(user).filter(corpus__in=choice.composition.closure)
    return list(rows.order_by("digest").values_list("question", flat=True)[:STARTERS])
