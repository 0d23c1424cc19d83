"""A measured number with its bar, and how it is told to programs. Knows no models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


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
    def is_met(self) -> bool:
        """Whether the bar is met; a figure without one always is."""
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def as_json(self) -> str:
        """One JSON object on one line."""
        told = {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "against": self.against,
            "bar": self.bar,
            "ok": self.is_met,
        }
        return json.dumps(told)


def table(figures: Sequence[Figure]) -> str:
    """A table for people, then one JSON object a line for programs."""
    lines = []
    for one in figures:
        wanted = "" if one.bar is None else f"{'>=' if one.at_least else '<='} {one.bar:g}"
        said = "" if one.bar is None else "ok" if one.is_met else "MISSED"
        value = f"{one.name:<44} {one.value:>10.3f} {one.unit:<14}"
        lines.append(f"{value} {wanted:<10} {said:<7} {one.against}")
    return "\n".join([*lines, *(one.as_json() for one in figures)])
