"""What an augmenter may begin as, for the page that starts a plan. Decides nothing for a run.

Offered are the newest versions that were taught these corpora, or some of them, for this anchor;
nothing at all; and open models here that read the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from apps.corpora.models import Snapshot
from apps.registry.models import Anchor, Augmenter, Composition
from apps.registry.words import share_words
from apps.runs.starts import NOTHING, Start

if TYPE_CHECKING:
    from apps.accounts.models import User

NONE = "nothing"
EARLIER = 5  # versions that are offered


@dataclass(frozen=True)
class Beginning:
    """One choice: its value in the form, its words, and what it means for a run."""

    value: str
    label: str
    start: Start = field(default=NOTHING)


def offer(
    snapshot: Snapshot, anchor: Anchor, anchors: Iterable[Anchor], *, by: User
) -> list[Beginning]:
    """Everything that can be chosen; the first is what is proposed."""
    return [
        *(_earlier(each) for each in _versions(snapshot, anchor, by)),
        Beginning(NONE, _("From nothing")),
        *(_base(each) for each in anchors if _is_base(each, anchor)),
    ]


def chosen(offered: Sequence[Beginning], value: str) -> Beginning | None:
    """The one of this value; the first where none was asked for; None where there is no such."""
    if not value:
        return next(iter(offered), Beginning(NONE, _("From nothing")))
    return next((each for each in offered if each.value == value), None)


def _versions(snapshot: Snapshot, anchor: Anchor, by: User) -> Iterable[Augmenter]:
    """Newest first. One that learned other corpora besides would carry them on; one that is barred
    learned something that is to be forgotten."""
    barred = Composition.objects.filter(state=Composition.State.QUARANTINED)
    rows: Any = Augmenter.objects.visible_to(by).filter(
        anchor=anchor, closure__contained_by=snapshot.closure
    )
    rows = rows.exclude(compositions__in=barred).order_by("-created_at")
    found: Iterable[Augmenter] = rows[:EARLIER]
    return found


def _earlier(row: Augmenter) -> Beginning:
    words = _("On from %(version)s of %(day)s: new and changed documents beside old ones")
    told = words % {"version": row, "day": f"{row.created_at:%Y-%m-%d}"}
    return Beginning(f"earlier:{row.pk}", told, Start(previous=row))


def _is_base(each: Anchor, anchor: Anchor) -> bool:
    """Small enough to be the smaller of the two, and of the same words."""
    return each.parameters <= anchor.parameters and share_words(each, anchor)


def _base(row: Anchor) -> Beginning:
    words = _("On from the open model %(name)s, %(millions)s million parameters")
    told = words % {"name": row.name, "millions": f"{row.parameters / 1e6:,.0f}"}
    return Beginning(f"base:{row.pk}", told, Start(base=row))
