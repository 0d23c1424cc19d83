"""Curves as a small SVG: a few lines over one axis, readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDE, HIGH, LEFT, TOP, RIGHT, BOTTOM = 680, 300, 48, 16, 212, 44
TICKS = 6  # numbers across, at most, besides 0
COLOURS = ("#2b6cb0", "#2b6cb0", "#b7522a", "#b7522a")
DASHES = ("none", "6 4", "none", "6 4")


@dataclass(frozen=True)
class Curve:
    """A line by its points; its name stands at its end."""

    name: str
    points: Sequence[tuple[float, float]]


def drawn(curves: Sequence[Curve], across: str, up: str) -> str:
    """The picture; values run from 0 to 1."""
    most = max((at for curve in curves for at, _ in curve.points), default=1.0) or 1.0
    named = "; ".join(f"{one.name} {one.points[-1][1]:.2f}" for one in curves)
    body = "\n".join((*_axes(most, across, up), *_lines(curves, most), *_names(curves)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img" '
        f'aria-label="{escape(up)} over {escape(across)}: {escape(named)}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#6b7280">\n{body}\n</svg>\n'
    )


def _x(at: float, most: float) -> float:
    return LEFT + (WIDE - LEFT - RIGHT) * at / most


def _y(value: float) -> float:
    return TOP + (HIGH - TOP - BOTTOM) * (1 - value)


def _axes(most: float, across: str, up: str) -> Iterator[str]:
    for fifth in range(6):
        value = fifth / 5
        y = _y(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDE - RIGHT}" stroke="#9ca3af" stroke-width="0.4"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>'
    step = _step(most)
    for tick in range(int(most / step) + 1):
        x = _x(tick * step, most)
        yield f'<text x="{x:.1f}" y="{HIGH - 26}" text-anchor="middle">{tick * step:g}</text>'
    middle = (LEFT + WIDE - RIGHT) / 2
    yield f'<text x="{middle:.0f}" y="{HIGH - 8}" text-anchor="middle">{escape(across)}</text>'
    yield f'<text x="{LEFT - 6}" y="{TOP - 4}" text-anchor="end">{escape(up)}</text>'


def _step(most: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that makes few enough ticks."""
    power = 10.0 ** math.floor(math.log10(most / TICKS))
    return next(power * by for by in (1, 2, 5, 10) if most / (power * by) <= TICKS)


def _lines(curves: Sequence[Curve], most: float) -> Iterator[str]:
    for number, curve in enumerate(curves):
        points = " ".join(f"{_x(at, most):.1f},{_y(value):.1f}" for at, value in curve.points)
        style = f'stroke="{COLOURS[number % 4]}" stroke-dasharray="{DASHES[number % 4]}"'
        yield f'<polyline points="{points}" fill="none" stroke-width="2" {style}/>'


def _names(curves: Sequence[Curve]) -> Iterator[str]:
    """One under the other beside the picture, so that no two cover each other."""
    for number, curve in enumerate(curves):
        y, x = TOP + 14 + 22 * number, WIDE - RIGHT + 14
        style = f'stroke="{COLOURS[number % 4]}" stroke-dasharray="{DASHES[number % 4]}"'
        yield f'<path d="M{x} {y - 4}h22" stroke-width="2" {style}/>'
        told = f"{escape(curve.name)} {curve.points[-1][1]:.2f}"
        yield f'<text x="{x + 28}" y="{y}">{told}</text>'
