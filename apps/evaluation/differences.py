"""What the report cards of several runs differ in: each number beside the first's. Knows no page.

The interval of a difference is Newcombe's (Statistics in Medicine 17, 1998, method 10), from the
two intervals that the reports state. It treats the answers as independent, so where both were asked
the same questions it is rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

from apps.evaluation.matrix import ALL, KINDS, named, ordered
from apps.evaluation.models import SLICES, Cell, Difference, Report
from apps.runs.models import Run
from apps.runs.states import Control, Kind

if TYPE_CHECKING:
    from apps.accounts.models import User


@dataclass(frozen=True)
class Place:
    """One run's number, and its difference to the first's; both may be missing."""

    cell: Cell | None
    difference: Difference | None


@dataclass(frozen=True)
class Row:
    kind: object
    slice: object
    places: tuple[Place, ...]


def report_of(run: Run, *, by: User) -> Report | None:
    """The newest report card on what this run made or measured, else on its plan; if `by` may."""
    reports = Report.objects.visible_to(by).order_by("-created_at")
    if run.kind == Kind.EVALUATE:
        found: Report | None = reports.filter(run=run).first()
    elif run.kind == Kind.COMPOSE and run.control == Control.NONE:
        found = reports.filter(composition__run_id=run.pk).first()
    else:
        found = reports.filter(run__plan=run.plan).first() if run.plan else None
    return found


def are_comparable(reports: Sequence[Report | None]) -> bool:
    """Whether all were asked the same questions."""
    return len({report.question_set_id for report in reports if report is not None}) == 1


def differences(runs: Sequence[Run], reports: Sequence[Report | None]) -> list[Row]:
    """Each kind and slice that any of them measured, with every run's number."""
    every = [_cells(run, report) for run, report in zip(runs, reports, strict=True)]
    asked = {key for cells in every for key in cells}
    rows = []
    for kind in ordered({kind for kind, _ in asked}, KINDS):
        for part in ordered({each for name, each in asked if name == kind}, (*SLICES, ALL)):
            cells = [each.get((kind, part)) for each in every]
            rows.append(Row(named(kind), named(part), tuple(_places(cells))))
    return rows


def _cells(run: Run, report: Report | None) -> dict[tuple[str, str], Cell]:
    """What the report says of what this run made: a control, an augmenter, or the composition."""
    made = {Kind.AUGMENT: "augmenter"}.get(Kind(run.kind), "composition")
    column = run.control if run.control != Control.NONE else made
    cells = report.measured() if report is not None else []
    return {(cell.kind, cell.slice): cell for cell in cells if cell.column == column}


def _places(cells: Sequence[Cell | None]) -> list[Place]:
    first = cells[0]
    return [
        Place(cell, difference(first, cell) if place and first and cell else None)
        for place, cell in enumerate(cells)
    ]


def difference(first: Cell, other: Cell) -> Difference:
    """How much more the other reaches than the first."""
    value = other.value - first.value
    down = hypot(other.value - other.low, first.high - first.value)
    up = hypot(other.high - other.value, first.value - first.low)
    return Difference(value, value - down, value + up)
