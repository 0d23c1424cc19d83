"""Accelerator minutes: of people, in a month, by the runs that they started. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q, Sum
from django.utils import timezone

from apps.accounts import quotas
from apps.runs.models import Run, Share


def minutes(people: Sequence[UUID] | None, since: datetime) -> int:
    """Of runs that ended since then, or have not ended."""
    runs = Run.objects.filter(Q(finished_at__gte=since) | Q(finished_at=None))
    if people is not None:
        runs = runs.filter(created_by__in=people)
    return int((runs.aggregate(seconds=Sum("used_seconds"))["seconds"] or 0) // 60)


def of_the_site() -> tuple[int, int] | None:
    """The tenant's share of this month and what it took of it; None without a limit."""
    share = Share.objects.first()
    if share is None or share.minutes is None:
        return None
    return share.minutes, int(share.seconds_in(timezone.localtime()) // 60)


METER = quotas.Meter(used=minutes, site=of_the_site, anew=True)
