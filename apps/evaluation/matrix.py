"""A report as people read it: columns beside each other, a row for each kind and slice.

What was not measured stays an empty cell with its reason; nothing is blended into one number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from apps.evaluation.models import COLUMNS, RIVALS, SLICES, Cell, Difference, Report

ALL = "all"
NAMES = {
    "anchor": _("Anchor"),
    "augmenter": _("Augmenter"),
    "composition": _("Composition"),
    "random": _("Random augmenter"),
    "bridges_only": _("Bridges only"),
    "output_only": _("Output path only"),
    "anchor_rag": _("Anchor with search (RAG)"),
    "composition_rag": _("Composition with search (RAG)"),
    "anchor_lora": _("Anchor fine-tuned (LoRA)"),
    "mismatched": _("Another corpus's augmenter"),
    "scrambled": _("Shuffled augmenter"),
    "general": _("Public questions"),
    "verbatim": _("Repeats documents word for word"),
    "public": _("common knowledge"),
    "documents": _("beginnings of passages"),
    "recall": _("Private facts"),
    "private_times_public": _("Private fact with public skill"),
    "seen": _("seen by the bridges"),
    "unseen_entity": _("unseen entity"),
    "unseen_value": _("unseen value"),
    ALL: _("all together"),
}
KINDS = ("recall", "private_times_public", "general", "verbatim")
WHY_NOT = {"random": _("no control was trained"), "augmenter": _("not asked alone")}


@dataclass(frozen=True)
class Place:
    """One cell of the matrix; without a `cell`, the reason why.

    difference   how far the composition lies above it on the same questions
    """

    column: str
    cell: Cell | None
    reason: object = ""
    difference: Difference | None = None

    @property
    def words(self) -> str:
        return f"{self.cell.value:.0%}" if self.cell else "\N{EN DASH}"

    @property
    def interval(self) -> str:
        return f"{self.cell.low * 100:.0f} to {self.cell.high * 100:.0f}" if self.cell else ""

    @property
    def state(self) -> str:
        """Whether the composition is better here, worse, or neither as far as can be told."""
        if self.difference is None or (self.difference.low <= 0 <= self.difference.high):
            return ""
        return "ok" if self.difference.low > 0 else "bad"

    @property
    def points(self) -> str:
        """The difference in points with its interval: "+84 (+70 to +93)"."""
        if self.difference is None:
            return ""
        found = self.difference
        return f"{found.value * 100:+.0f} ({found.low * 100:+.0f} to {found.high * 100:+.0f})"


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


def ordered(columns: Iterable[str], first: tuple[str, ...] = (*COLUMNS, *RIVALS)) -> list[str]:
    """Known ones in the order in which people compare, then the others by name."""
    left = set(columns)
    return [name for name in first if name in left] + sorted(left - set(first))


def matrix(report: Report) -> Matrix:
    """Every measured cell of this report in its place."""
    cells = {(cell.column, cell.kind, cell.slice): cell for cell in report.measured()}
    columns = ordered({column for column, _kind, _slice in cells} | set(COLUMNS))
    asked = {(kind, part) for _column, kind, part in cells}
    kinds = ordered({kind for kind, _slice in asked}, KINDS)
    rows = []
    for kind in kinds:
        parts = {each for name, each in asked if name == kind}
        for part in ordered(parts - {ALL} if len(parts) == 2 else parts, (*SLICES, ALL)):
            places = tuple(
                _place(name, cells.get((name, kind, part)), report.difference(name, kind, part))
                for name in columns
            )
            rows.append(Row(named(kind), named(part), places))
    return Matrix(tuple(named(name) for name in columns), tuple(rows))


def _place(column: str, cell: Cell | None, difference: Difference | None) -> Place:
    return Place(column, cell, "" if cell else WHY_NOT.get(column, _("not asked")), difference)
