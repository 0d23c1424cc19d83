"""Figures put together and shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from calm_engine.figures import Figure


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of rounds that were taken side by side."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def show(figures: Iterable[Figure]) -> int:
    """Print each line as soon as it is measured, all as JSON at the end; 1 when a bar is missed."""
    found = []
    for one in figures:
        print(one.line(), flush=True)
        found.append(one)
    print(*(one.as_json() for one in found), sep="\n")
    return 0 if all(one.is_met for one in found) else 1
