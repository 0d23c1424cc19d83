"""The timer offers what rows, broker and disk say: there is one timer, so it is told once."""

from __future__ import annotations

from typing import Any

from celery.signals import beat_init

from apps.operate.state import State
from counterpoint.watch.offer import offer


@beat_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def offer_the_state(**_: Any) -> None:
    offer(State())
