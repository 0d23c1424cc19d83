"""A report as people read it: columns beside each other, a row for each kind and slice.

What was not measured stays an empty cell with its reason; nothing is blended into one number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from apps.evaluation.models import COLUMNS, SLICES, Cell, Report

ALL = "all"
NAMES = {
    "anchor": _("Anchor"),
    "augmenter": _("Augmenter"),
    "composition": _("Composition"),
    "random": _("Random augmenter"),
    "bridges_only": _("Bridges only"),
    "output_only": _("Output path only"),
    "recall": _("Private facts"),
    "private_times_public": _("Private fact with public skill"),
    "seen": _("seen by the bridges"),
    "unseen_entity": _("unseen entity"),
    "unseen_value": _("unseen value"),
    ALL: _("all together"),
}
KINDS = ("recall", "private_times_public")
WHY_NOT = {"random": _("no control was trained"), "augmenter": _("not asked alone")}


@dataclass(frozen=True)
class Place:
    """One cell of the matrix; without a `cell`, the reason why."""

    column: str
    cell: Cell | None
    reason: object = ""

    @property
    def words(self) -> str:
        return f"{self.cell.value:.0%}" if self.cell else "\N{EN DASH}"

    @property
    def interval(self) -> str:
        return f"{self.cell.low * 100:.0f} to {self.cell.high * 100:.0f}" if self.cell else ""


@dataclass(frozen=True)
class Row:
    """One kind of question in one slice."""

    kind: object
    slice: object
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Matrix:
    columns: tuple[object, ...]
    rows: tuple[Row, ...]


def named(word: str) -> object:
    """The word that people read for a column, kind or slice."""
    return NAMES.get(word) or word.replace("_", " ")


def ordered(columns: Iterable[str], first: tuple[str, ...] = COLUMNS) -> list[str]:
    """Known ones in the order in which people compare, then the others by name."""
    left = set(columns)
    return [name for name in first if name in left] + sorted(left - set(first))


def matrix(report: Report) -> Matrix:
    """Every measured cell of this report in its place."""
    cells = {(cell.column, cell.kind, cell.slice): cell for cell in report.measured()}
    columns = ordered({cell.column for cell in cells.values()} | set(COLUMNS))
    asked = {(cell.kind, cell.slice) for cell in cells.values()}
    kinds = ordered({kind for kind, _slice in asked}, KINDS)
    rows = []
    for kind in kinds:
        for part in ordered({each for name, each in asked if name == kind}, (*SLICES, ALL)):
            places = tuple(_place(name, cells.get((name, kind, part))) for name in columns)
            rows.append(Row(named(kind), named(part), places))
    return Matrix(tuple(named(name) for name in columns), tuple(rows))


def _place(column: str, cell: Cell | None) -> Place:
    return Place(column, cell, "" if cell else WHY_NOT.get(column, _("not asked")))
