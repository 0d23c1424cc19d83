"""How full the context of a conversation is: what a model reads at once, and how much is taken.

The model server counted the tokens of the last answer; nothing is estimated. Knows no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apps.chat.models import Message
from apps.registry import artifacts

TIGHT = 80  # per cent


@dataclass(frozen=True)
class Context:
    """Tokens that the last answer took with what was read for it, and how many there may be."""

    taken: int
    room: int

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.taken / self.room))

    @property
    def is_tight(self) -> bool:
        """Whether the next question may have to leave the oldest turns behind."""
        return self.percent >= TIGHT


def context_of(said: Sequence[Message]) -> Context | None:
    """Of the last of these answers that was counted; None where its model's room is not known."""
    counted = [each for each in said if each.composition and each.usage.get("total_tokens")]
    if not counted:
        return None
    room = artifacts.reads_at_once(counted[-1].maker)
    return Context(int(counted[-1].usage["total_tokens"]), room) if room else None
