"""What a person may choose to ask, and what each model knows. Knows no conversation's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, OuterRef
from django.utils import timezone

from apps.chat.models import Conversation
from apps.corpora.models import Corpus, Example
from apps.registry import hosts
from apps.registry.closure import lacking
from apps.registry.models import Composition
from apps.tenants.models import Tenant

if TYPE_CHECKING:
    from apps.accounts.models import User

STARTERS = 3


@dataclass(frozen=True)
class Choice:
    """One live model as one person sees it.

    knows_until   when the newest documents that it learned were frozen
    state         "ready", "starting", "asleep" (a question wakes it), "resting" (a training has its
                  accelerator) or "off"
    missing       corpora that this person may not read; empty when they may use the model
    """

    name: str
    composition: Composition
    knows_until: datetime
    state: str
    is_usable: bool
    missing: Sequence[Corpus] = ()


def choices(user: User, tenant: Tenant) -> list[Choice]:
    """Every live model: usable ones first, then locked ones where the tenant shows them.

    Three queries, however many models there are.
    """
    their = Composition.objects.usable_by(user).filter(pk=OuterRef("pk"))
    rows = Composition.objects.live().annotate(is_usable=Exists(their))
    live = list(rows.select_related("snapshot").order_by("name"))
    usable = {made.pk for made in live if made.is_usable}
    if not tenant.settings.get("show_locked_models", True):
        live = [made for made in live if made.pk in usable]
    missing = lacking(user, [made for made in live if made.pk not in usable])
    states = hosts.states(live, now=timezone.now())
    found = [
        Choice(
            name=made.name,
            composition=made,
            knows_until=made.snapshot.created_at,
            state=states[made.pk],
            is_usable=made.pk in usable,
            missing=missing.get(made.pk, ()),
        )
        for made in live
    ]
    return sorted(found, key=lambda choice: not choice.is_usable)


def offer(user: User, tenant: Tenant, *, wanted: str = "", here: str = "") -> dict[str, Any]:
    """What the composer shows: the models to choose from, and the one that is chosen.

    wanted  the name that an address asks for; taken when they may use it
    here    what the open conversation goes to, whether they may still use it or not
    """
    every = choices(user, tenant)
    usable = [choice for choice in every if choice.is_usable]
    names = {choice.name for choice in usable}
    chosen = here or (wanted if wanted in names else last_used(user, every))
    return {
        "choices": every,
        "chosen": chosen,
        "current": next((choice for choice in usable if choice.name == chosen), None),
        "has_choice": bool(usable),
        "chosen_is_listed": chosen in names,
        "usable": usable,
        "locked": [choice for choice in every if not choice.is_usable],
    }


def last_used(user: User, among: Sequence[Choice]) -> str:
    """The model of their newest conversation, if they still may; else the first they may."""
    names = [choice.name for choice in among if choice.is_usable]
    newest = Conversation.objects.visible_to(user).filter(model__in=names).first()
    return newest.model if newest else (names[0] if names else "")


def learned(choice: Choice) -> list[str]:
    """The names of the corpora that it learned: whoever may use it may read them all."""
    rows = Corpus.objects.filter(pk__in=choice.composition.closure).order_by("name")
    return list(rows.values_list("name", flat=True))


def starters(user: User, choice: Choice) -> list[str]:
    """A few questions that this model should be able to answer, from corpora this person reads."""
    rows = Example.objects.visible_to(user).filter(corpus__in=choice.composition.closure)
    return list(rows.order_by("digest").values_list("question", flat=True)[:STARTERS])
