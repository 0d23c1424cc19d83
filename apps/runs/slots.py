"""What workers tell of the places where runs work, and what follows from it. Knows no engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from apps.runs.models import Slot

FORGET_AFTER = timedelta(days=1)


def tell(name: str, **facts: Any) -> None:
    """Write down how a slot is now, by the database's clock; its own row alone."""
    Slot.objects.update_or_create(name=name, defaults=facts | {"seen_at": Now()})


def forget_silent() -> int:
    """Remove slots that nobody has heard of for a day: machines that were taken away."""
    gone, _ = Slot.objects.filter(seen_at__lt=timezone.now() - FORGET_AFTER).delete()
    return gone


def listening(queue: str = "gpu") -> list[Slot]:
    """The slots whose workers have been heard of lately."""
    now = timezone.now()
    return [slot for slot in Slot.objects.filter(queue=queue) if slot.listens(now)]
