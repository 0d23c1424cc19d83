"""What an update or a forgetting came to, in rows for a page. Knows figures, no model, no run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

UPDATE: dict[str, str | Promise] = {
    "new_learned": _("New facts, learned"),
    "old_kept": _("Old facts, kept"),
    "changed_replaced": _("Changed facts, answered as they are now"),
    "stale": _("Changed facts, still answered as they were"),
}
FORGETTING: dict[str, str | Promise] = {
    "forgotten_recall": _("Questions about it that are answered"),
    "forgotten_extracted": _("Beginnings of its text that are carried on word for word"),
}
NAMES = frozenset((*UPDATE, *FORGETTING))


@dataclass(frozen=True)
class Line:
    """One share of right answers, of how many, and what it was in the earlier augmenter.

    now, before   in per cent; None where nobody was asked
    right         how many of those asked
    """

    name: str
    label: str | Promise
    asked: int
    now: float | None
    before: float | None

    @property
    def right(self) -> int:
        return round((self.now or 0.0) * self.asked / 100)


def update_of(metrics: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Line]:
    """What became of facts between two snapshots; empty for a training that was no update."""
    return _lines(UPDATE, metrics, facts)


def forgetting_of(metrics: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Line]:
    """What is still known of what was left out; empty where nothing was."""
    return _lines(FORGETTING, metrics, facts)


def _lines(
    labels: Mapping[str, str | Promise], metrics: Mapping[str, Any], facts: Mapping[str, Any]
) -> list[Line]:
    """A group that no question fell into is told as such: nothing changed, nothing was new."""
    return [
        Line(
            name,
            label,
            int(facts[f"{name}_asked"]),
            _percent(metrics.get(name)),
            _percent(facts.get(f"{name}_before")) if facts[f"{name}_asked"] else None,
        )
        for name, label in labels.items()
        if f"{name}_asked" in facts
    ]


def _percent(share: Any) -> float | None:
    return None if share is None else 100.0 * float(share)
