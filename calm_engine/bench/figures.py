"""Figures put together and shown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from calm_engine.figures import Figure, table


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of rounds that were taken side by side."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def show(figures: Sequence[Figure]) -> int:
    """Print the table and the lines; the exit status: 1 when a bar is missed."""
    print(table(figures))
    return 0 if all(one.is_met for one in figures) else 1
