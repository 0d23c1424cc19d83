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

    def line(self) -> str:
        """The number for people, with its bar and whether it is met."""
        wanted = "" if self.bar is None else f"{'>=' if self.at_least else '<='} {self.bar:g}"
        said = "" if self.bar is None else "ok" if self.is_met else "MISSED"
        value = f"{self.name:<44} {self.value:>10.3f} {self.unit:<14}"
        return f"{value} {wanted:<10} {said:<7} {self.against}"

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
    return "\n".join([*(one.line() for one in figures), *(one.as_json() for one in figures)])
