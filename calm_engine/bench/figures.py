"""Figures put together and shown: a table for people, then one JSON object a line."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from calm_engine.figures import Figure


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of rounds that were taken side by side."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def show(figures: Sequence[Figure]) -> int:
    """Print the table and the lines; the exit status: 1 when a bar is missed."""
    for one in figures:
        wanted = "" if one.bar is None else f"{'>=' if one.at_least else '<='} {one.bar:g}"
        said = "" if one.bar is None else "ok" if one.is_met else "MISSED"
        print(
            f"{one.name:<44} {one.value:>10.3f} {one.unit:<10} {wanted:<10} {said:<7} {one.against}"
        )
    for one in figures:
        print(one.as_json())
    return 0 if all(one.is_met for one in figures) else 1
