"""A figure with its bar: as a table for people, then as one JSON object a line. Knows no models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One measured number.

    against   what it is a ratio to, or what it is measured on
    bar       the least or the most it may be, by `at_least`; None: told without judgement
    """

    name: str
    value: float
    unit: str
    against: str
    bar: float | None = None
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the bar is met; a figure without one always is."""
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of rounds that were taken side by side."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def show(figures: Sequence[Figure]) -> int:
    """Print the table and the lines; the exit status: 1 when a bar is missed."""
    for one in figures:
        wanted = "" if one.bar is None else f"{'>=' if one.at_least else '<='} {one.bar:g}"
        said = "" if one.bar is None else "ok" if one.ok else "MISSED"
        print(
            f"{one.name:<44} {one.value:>10.3f} {one.unit:<10} {wanted:<10} {said:<7} {one.against}"
        )
    for one in figures:
        told = asdict(one) | {"value": round(one.value, 4), "ok": one.ok}
        print(json.dumps({k: it for k, it in told.items() if k != "at_least"}))
    return 0 if all(one.ok for one in figures) else 1
