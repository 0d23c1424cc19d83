"""From single answers to figures: shares, paired differences, attribution, each with its interval.

Knows right and wrong by column and question; knows no model and no text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm_engine.data import Example
from calm_engine.evaluation.kinds import COUNTERFACTUAL, LEAKS, MADE, SEEN, family
from calm_engine.overlap import ALIKE, RUN, Overlap

ALL = "all"  # the slice over all slices
Z95 = 1.959964  # two-sided 95 % of the normal distribution
DRAWS = 4000  # of the posterior behind a paired interval

COMPOSITION, ANCHOR, RANDOM = "composition", "anchor", "random"

Right = Mapping[tuple[str, str], bool]  # by column and question


def wilson(right: float, asked: int) -> tuple[float, float]:
    """The 95 % interval of a share; honest at 0 and 1. Source: E. B. Wilson, JASA 22 (1927)."""
    share, spread = right / asked, Z95**2 / asked
    middle = (share + spread / 2) / (1 + spread)
    reach = Z95 / (1 + spread) * math.sqrt((share * (1 - share) + spread / 4) / asked)
    # At the ends the formula gives exactly 0 and 1, but for rounding.
    return middle - reach if right else 0.0, middle + reach if right < asked else 1.0


def cells_of(
    questions: Sequence[Example], right: Right, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """A cell for each column, kind and slice that was asked, and for each kind over all slices.

    Where a column was not asked a kind, there is no cell: none stands without its n.
    """
    cells = []
    for column in columns:
        for (kind, name), rows in grouped(questions).items():
            if told := _share(rows, right, column):
                cells.append({"column": column, "kind": kind, "slice": name, **told})
    return cells


def _share(rows: Iterable[Example], right: Right, column: str) -> dict[str, float]:
    """The share of these that the column has right, with n and interval; {} where n would be 0."""
    marks = [right[column, row.id] for row in rows if (column, row.id) in right]
    if not marks:
        return {}
    low, high = wilson(sum(marks), len(marks))
    return {"value": sum(marks) / len(marks), "n": len(marks), "low": low, "high": high}


def corpora_of(
    questions: Sequence[Example], right: Right, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Cells by the corpus that a question belongs to: of each kind all that was held out.

    None where the questions name fewer than two corpora: there is nothing to tell apart.
    """
    held = [row for row in private(questions) if row.corpus]
    names = sorted({row.corpus for row in held})
    return [
        {"corpus": name, **cell}
        for name in (names if len(names) > 1 else ())
        for cell in cells_of([row for row in held if row.corpus == name], right, columns)
        if cell["slice"] == ALL
    ]


def overlap_of(
    questions: Sequence[Example], right: Right, shared: Overlap, taught: int
) -> dict[str, Any]:
    """How many held-out questions share words with what was learned, and the share without them.

    {} where it is not known what was learned. With "all" and "without": the composition's cells.
    """
    held = private(questions)
    if not taught or not held:
        return {}
    clean = [row for row in held if row.id not in shared.either]
    return {
        "of": len(held),
        "taught": taught,
        "run": len(shared.run),
        "near": len(shared.near),
        "either": len(shared.either),
        "words": RUN,
        "alike": ALIKE,
        "all": _share(held, right, COMPOSITION),
        "without": _share(clean, right, COMPOSITION),
    }


def private(questions: Iterable[Example]) -> list[Example]:
    """Questions about what was learned that the bridges have not seen."""
    return [row for row in questions if row.slice != SEEN and family(row.kind) not in MADE]


def differences_of(
    questions: Sequence[Example], right: Right, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """How far the composition lies above each other column, on the questions both were asked.

    Of what ought not to be said, and of facts as edited documents state them, more is not better:
    such questions have no row.
    """
    questions = [row for row in questions if family(row.kind) not in LEAKS | {COUNTERFACTUAL}]
    found = []
    for column in columns:
        if column != COMPOSITION:
            rows = _figures(questions, right, (COMPOSITION, column), lambda p: p[0] - p[1])
            found += [{"column": column, **row} for row in rows]
    return found


def attribution_of(questions: Sequence[Example], right: Right) -> list[dict[str, Any]]:
    """A = (composition - random) / (composition - anchor): the share of the gain that is knowledge.

    Where the composition gains nothing over the anchor there is nothing to attribute, and no row.
    """
    rows = _figures(
        questions, right, (COMPOSITION, RANDOM, ANCHOR), lambda p: (p[0] - p[1]) / (p[0] - p[2])
    )
    return [row for row in rows if math.isfinite(row["value"]) and row["gain"] > 0]


def _figures(
    questions: Sequence[Example],
    right: Right,
    columns: Sequence[str],
    figure: Callable[[Any], Any],
) -> list[dict[str, Any]]:
    """A figure of the columns' shares for each kind and slice that all of them were asked."""
    found = []
    for (kind, name), rows in grouped(questions).items():
        asked = [row.id for row in rows if all((column, row.id) in right for column in columns)]
        if asked:
            marks = [[right[column, one] for column in columns] for one in asked]
            told = paired(marks, figure)
            found.append({"kind": kind, "slice": name, "n": len(asked), **told})
    return found


def paired(marks: Sequence[Sequence[bool]], figure: Callable[[Any], Any]) -> dict[str, float]:
    """A figure of shares that were measured on the same questions, with its 95 % interval.

    marks    for each question whether each column was right
    figure   of the columns' shares, an array (columns, ...)

    The interval is that of the posterior over the patterns of right and wrong, with one question's
    weight spread over all patterns before anything was asked (Perks' prior): unlike a bootstrap it
    does not shrink to a point where everybody agrees. Source: W. Perks, J. Inst. Actuar. 73 (1947).
    """
    width = len(marks[0])
    patterns: NDArray[Any] = np.array(
        [[bool(at >> place & 1) for place in range(width)] for at in range(2**width)], dtype=float
    )
    counted = Counter(sum(mark << place for place, mark in enumerate(row)) for row in marks)
    counts = np.array([counted[at] for at in range(2**width)], dtype=float)
    shares = (patterns * (counts / counts.sum())[:, None]).sum(0)
    source = np.random.default_rng(0)
    drawn = source.dirichlet(counts + 1 / len(counts), DRAWS) @ patterns
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.nanquantile(figure(drawn.T), (0.025, 0.975))
        value = float(figure(shares))
    gain = float(shares[0] - shares[-1])
    return {"value": value, "low": float(low), "high": float(high), "gain": gain}


def grouped(questions: Iterable[Example]) -> dict[tuple[str, str], list[Example]]:
    """The questions of each kind and slice, and of each kind over all slices."""
    groups: dict[tuple[str, str], list[Example]] = {}
    for row in questions:
        for name in dict.fromkeys((row.slice, ALL)):
            groups.setdefault((row.kind, name), []).append(row)
    return dict(sorted(groups.items()))
