"""One person's conversations as a list: newest first, searched, locked ones without their titles.

Whether a conversation may be shown is asked of the closures each time; nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.paginator import Paginator
from django.utils.translation import gettext as _

from apps.chat.models import Conversation, Message, Role
from apps.registry.closure import lacking
from apps.registry.models import Composition

if TYPE_CHECKING:
    from apps.accounts.models import User

PAGE = 40  # conversations shown at once


@dataclass(frozen=True)
class Entry:
    """One conversation of the history; a locked one says what it lacks in place of its title."""

    code: UUID
    url: str
    title: str
    is_locked: bool


def facts(told: Mapping[str, Any], user: User) -> dict[str, Any]:
    """This person's conversations, newest first, or those that say the words searched for."""
    words = str(told.get("q", "")).replace("\0", "").strip()
    rows: Any = begun(user)
    if words:
        # Found words would tell what a locked answer says: only open ones are searched.
        rows = rows.filter(is_locked=False).saying(words)
    some = Paginator(rows, PAGE).get_page(told.get("page"))
    return {"history": entries(list(some), user), "page": some, "words": words}


def begun(user: User) -> Any:
    """Their conversations in which something was asked, each with its lock."""
    return Conversation.objects.visible_to(user).with_lock(user).exclude(title="")


def entries(rows: Sequence[Conversation], user: User) -> list[Entry]:
    """These rows of `begun` as the page shows them; two queries when some are locked, else none."""
    reasons = lock_reasons([row for row in rows if row.is_locked], user)
    return [
        Entry(row.pk, row.get_absolute_url(), reasons.get(row.pk, row.title), row.is_locked)
        for row in rows
    ]


def lock_reasons(rows: Sequence[Conversation], user: User) -> dict[UUID, str]:
    """For each, why its answers may not be read now, naming the corpora whose right is lacking."""
    if not rows:
        return {}
    answers = Message.objects.filter(conversation__in=rows, role=Role.ASSISTANT)
    made = dict.fromkeys(answers.values_list("conversation", "composition"))
    makers = list(Composition.objects.filter(pk__in={maker for _row, maker in made}))
    missing = lacking(user, makers)
    names: dict[UUID, set[str]] = {row.pk: set() for row in rows}
    for row, maker in made:
        names[row].update(corpus.name for corpus in missing.get(maker, []))
    return {pk: _worded(sorted(found)) for pk, found in names.items()}


def _worded(names: list[str]) -> str:
    if not names:
        return _("Its model is not available")
    return _("Needs the right to read %(names)s") % {"names": ", ".join(names)}
