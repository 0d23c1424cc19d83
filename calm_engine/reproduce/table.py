"""The paper's table beside ours, and the bars that ours must pass. Knows no models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from calm_engine.evaluation.counting import wilson
from calm_engine.figures import Figure
from calm_engine.reproduce.key_value import KEY_VALUE, NUMERIC, SUBSTITUTION, TASKS

AUGMENTER, ANCHOR, COMPOSED, RANDOM = "augmenter", "anchor", "composition", "random augmenter"
COLUMNS = (AUGMENTER, ANCHOR, COMPOSED, RANDOM)

# CALM (arXiv 2401.02412), table 1, in percent. It has no random augmenter for this task.
PAPER = {
    SUBSTITUTION: {AUGMENTER: 98.1, ANCHOR: 0.0, COMPOSED: 92.9},
    NUMERIC: {AUGMENTER: 4.2, ANCHOR: 73.7, COMPOSED: 72.0},
    KEY_VALUE: {AUGMENTER: 0.7, ANCHOR: 0.0, COMPOSED: 84.3},
}


@dataclass(frozen=True)
class Cell:
    """How many of the questions of a task a model answered rightly, whole answers only."""

    task: str
    column: str
    right: int
    asked: int

    @property
    def percent(self) -> float:
        return 100.0 * self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, in percent."""
        low, high = wilson(self.right, self.asked)
        return 100.0 * low, 100.0 * high


@dataclass(frozen=True)
class Wanted:
    """The bars of a form of the reproduction, in percent."""

    key_value: float
    substitution: float
    lost: float  # points of numeric arithmetic that the composition may lose against the anchor
    parents: float
    random: float


class Table:
    """All cells of one run."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = {(cell.task, cell.column): cell for cell in cells}

    def percent(self, task: str, column: str) -> float:
        return self.cells[task, column].percent

    def bars(self, wanted: Wanted) -> list[Figure]:
        """Every figure with a bar, the headline first."""
        lost = self.percent(NUMERIC, ANCHOR) - self.percent(NUMERIC, COMPOSED)
        most = (("paper's augmenter", AUGMENTER), ("paper's anchor", ANCHOR))
        return [
            self._bar(KEY_VALUE, COMPOSED, "paper's composition", wanted.key_value),
            *(self._bar(KEY_VALUE, of, told, wanted.parents, floor=False) for told, of in most),
            self._bar(KEY_VALUE, RANDOM, "composition", wanted.random, floor=False),
            self._bar(SUBSTITUTION, COMPOSED, "paper's composition", wanted.substitution),
            Figure(f"{NUMERIC}, lost", lost, "points", "anchor", wanted.lost),
        ]

    def _bar(
        self, task: str, column: str, against: str, bar: float, *, floor: bool = True
    ) -> Figure:
        return Figure(
            f"{task}, {column}", self.percent(task, column), "percent", against, bar, floor
        )

    def lines(self) -> Iterator[str]:
        """The table in words: ours with n and interval, the paper's below."""
        yield f"{'':24}" + "".join(f"{column:>24}" for column in COLUMNS)
        for task in TASKS:
            yield f"{task:24}" + "".join(self._told(task, column) for column in COLUMNS)
            paper = (PAPER.get(task, {}).get(column) for column in COLUMNS)
            yield f"{'  paper':24}" + "".join(f"{'-' if p is None else p:>24}" for p in paper)
        asked = {cell.asked for cell in self.cells.values()}
        yield f"n = {', '.join(map(str, sorted(asked)))} questions a cell; 95 % intervals (Wilson)"

    def _told(self, task: str, column: str) -> str:
        cell = self.cells.get((task, column))
        if cell is None:
            return f"{'-':>24}"
        low, high = cell.interval
        return f"{f'{cell.percent:.1f} ({low:.1f}-{high:.1f})':>24}"
