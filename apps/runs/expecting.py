"""When a waiting run may begin: a range, or that it is not known. Computed and never stored.

The soonest is when the first slot that takes it is free, should its tenant's turn come then. The
latest is when all that waits longer has gone first: until a run begins no slot is idle, so that all
the work before it, spread over the slots, is the most that it can wait.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

HISTORY = 40  # finished runs of the tenant that say how long one of a kind takes
SPREAD = (0.8, 1.4)  # what was said of a run's time, and what it took
FAR = timedelta(hours=18)  # from where on a time needs its day


@dataclass(frozen=True)
class Ahead:
    """What waits longer than a run.

    runs    how many
    fresh   of them by kind, those that never worked
    left    seconds that the others still need, by their own rate
    """

    runs: int = 0
    fresh: Mapping[str, int] = field(default_factory=dict)
    left: float = 0.0


@dataclass(frozen=True)
class Working:
    """A run that works now, of whatever tenant: on which slot, and seconds to its end if told."""

    slot: str
    kind: str
    used: float
    left: float | None


@dataclass(frozen=True)
class Pace:
    """How a queue moves: what works in it, and the seconds that one of each kind takes here."""

    working: Sequence[Working] = ()
    typical: Mapping[str, float] = field(default_factory=dict)


def begins_in(ahead: Ahead, pace: Pace, slots: Collection[str]) -> tuple[float, float] | None:
    """Seconds from now in which a run begins that these slots take; None where it is not known."""
    busy = [_left(each, pace) for each in pace.working if each.slot in slots]
    known = [each for each in busy if each is not None]
    unknown = len(known) < len(busy) or any(
        count and kind not in pace.typical for kind, count in ahead.fresh.items()
    )
    if not slots or unknown:
        return None
    is_free = len(busy) < len(slots)
    if is_free and not ahead.runs:
        return 0.0, 0.0
    soonest = 0.0 if is_free else min(known)
    waiting = sum(count * pace.typical[kind] for kind, count in ahead.fresh.items() if count)
    work = sum(known) + waiting + ahead.left
    latest = max(soonest, work / len(slots)) if ahead.runs else soonest
    return soonest * SPREAD[0], latest * SPREAD[1]


def _left(working: Working, pace: Pace) -> float | None:
    if working.left is not None:
        return working.left
    whole = pace.typical.get(working.kind)
    return None if whole is None else max(0.0, whole - working.used)


def in_words(seconds: tuple[float, float] | None, now: datetime) -> str:
    """When it begins, as a person reads it: an estimate, never a promise."""
    if seconds is None:
        return _("It begins when a slot is free; when that will be is not known yet.")
    if seconds[1] < 1:
        return _("A slot is free: it begins in a moment.")
    soon, late = (_clock(now + timedelta(seconds=each), now) for each in seconds)
    if soon == late:
        return _("It begins about %(time)s.") % {"time": soon}
    return _("It begins about %(soon)s to %(late)s.") % {"soon": soon, "late": late}


def _clock(at: datetime, now: datetime) -> str:
    return date_format(timezone.localtime(at), "H:i" if at - now < FAR else "Y-m-d H:i")
