"""One person's conversations as a list: newest first, searched by words, model and day; locked ones
without their titles.

Whether a conversation may be shown is asked of the closures each time; nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Count, DateTimeField, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _

from apps.chat.models import Conversation, Message, Role
from apps.registry.closure import lacking
from apps.registry.models import Composition
from apps.tenants.typed import to_find
from counterpoint.counting import counted, said
from counterpoint.keyset import Order, page_of

if TYPE_CHECKING:
    from apps.accounts.models import User

PAGE = 40  # conversations shown at once
FOLDERS = 1  # their place among the groups
NEVER = Value(datetime.min.replace(tzinfo=UTC), DateTimeField())
PINNED_FIRST = Order("new", "", ("-pinned", "-updated_at", "pk"))


@dataclass(frozen=True)
class Entry:
    """One conversation of the history; a locked one says what it lacks in place of its title."""

    code: UUID
    url: str
    title: str
    is_locked: bool
    is_pinned: bool
    folder: str
    updated_at: datetime


@dataclass(frozen=True)
class Wanted:
    """What is searched for; each part may be left out.

    since, until   days of the last question, both of them included
    """

    words: str = ""
    model: str = ""
    since: date | None = None
    until: date | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Wanted:
        """From an address; what is no day is none."""
        words, model = (to_find(told.get(name, "")) for name in ("q", "with"))
        since, until = (_day(str(told.get(name, ""))) for name in ("since", "until"))
        return cls(words, model, since, until)

    @property
    def is_narrowed(self) -> bool:
        """Whether more than words is asked for."""
        return bool(self.model or self.since or self.until)

    @property
    def is_any(self) -> bool:
        return bool(self.words) or self.is_narrowed

    def among(self, rows: Any) -> Any:
        """Those of `begun` that fit."""
        if self.words:
            # Found words would tell what a locked answer says: only open ones are searched.
            rows = rows.filter(is_locked=False).saying(self.words)
        if self.model:
            rows = rows.with_model(self.model)
        if self.since:
            rows = rows.filter(updated_at__date__gte=self.since)
        if self.until:
            rows = rows.filter(updated_at__date__lte=self.until)
        return rows


def _day(told: str) -> date | None:
    try:
        return parse_date(told)
    except ValueError:  # well written, and no day of any month
        return None


def facts(told: Mapping[str, Any], user: User) -> dict[str, Any]:
    """This person's conversations, newest first, or those that are searched for."""
    wanted = Wanted.of(told)
    kinds = list(_kinds(user))
    rows = wanted.among(begun(user))
    some = page_of(rows, told, PINNED_FIRST, size=PAGE)
    shown = entries(some.rows, user)
    return {
        "history": shown,
        "groups": [] if wanted.is_any else grouped(shown, timezone.now()),
        "folders": sorted({folder for folder, _model, _count in kinds if folder}),
        "asked_models": sorted({model.partition("@")[0] for _folder, model, _count in kinds}),
        "page": some,
        "found": said(*counted(rows)) if wanted.is_any else "",
        "wanted": wanted,
    }


def _kinds(user: User) -> Any:
    """In one question: (folder, model, how many) of all that were begun."""
    rows = Conversation.objects.visible_to(user).exclude(title="").order_by()
    return rows.values_list("folder", "model").annotate(Count("pk"))


def begun(user: User) -> Any:
    """Their conversations in which something was asked, each with its lock; pinned ones first."""
    rows = Conversation.objects.visible_to(user).with_lock(user).exclude(title="")
    return rows.annotate(pinned=Coalesce("pinned_at", NEVER)).order_by(*PINNED_FIRST.fields)


@dataclass(frozen=True)
class Group:
    """Some conversations under one heading; a folder opens when it is pressed."""

    name: str
    entries: Sequence[Entry]
    is_folder: bool = False


def grouped(shown: Sequence[Entry], now: datetime) -> list[Group]:
    """Pinned ones, folders by name, then by age; each conversation once, in the order it came."""
    named: dict[tuple[int, str], list[Entry]] = {}
    for entry in shown:
        named.setdefault(_place(entry, now), []).append(entry)
    return [
        Group(name, entries, is_folder=place == FOLDERS)
        for (place, name), entries in sorted(named.items(), key=lambda group: group[0])
    ]


def _place(entry: Entry, now: datetime) -> tuple[int, str]:
    if entry.is_pinned:
        return (0, _("Pinned"))
    if entry.folder:
        return (FOLDERS, entry.folder)
    days = (timezone.localdate(now) - timezone.localdate(entry.updated_at)).days
    if days < 1:
        return (2, _("Today"))
    return (3, _("The last seven days")) if days < 8 else (4, _("Older"))


def entries(rows: Sequence[Conversation], user: User) -> list[Entry]:
    """These rows of `begun` as the page shows them; two queries when some are locked, else none."""
    reasons = lock_reasons([row for row in rows if row.is_locked], user)
    return [
        Entry(
            code=row.pk,
            url=row.get_absolute_url(),
            title=reasons.get(row.pk, row.title),
            is_locked=row.is_locked,
            is_pinned=row.pinned_at is not None,
            folder=row.folder,
            updated_at=row.updated_at,
        )
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
