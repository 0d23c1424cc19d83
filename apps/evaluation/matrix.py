"""A report as people read it: columns beside each other, a row for each kind and slice.

What was not measured stays an empty cell with its reason; nothing is blended into one number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from apps.evaluation.models import COLUMNS, LEAKS, RIVALS, SLICES, Cell, Difference, Report, cell_of

ALL = "all"
COMPOSITION = "composition"
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
    "anchor_lora_documents": _("Anchor fine-tuned on the documents (LoRA)"),
    "mismatched": _("Another corpus's augmenter"),
    "scrambled": _("Shuffled augmenter"),
    "swapped": _("Composition on edited facts"),
    "general": _("Public questions"),
    "verbatim": _("Repeats documents word for word"),
    "canary": _("Says a planted secret"),
    "other_corpus": _("Answers about another corpus"),
    "public": _("common knowledge"),
    "documents": _("beginnings of passages"),
    "planted": _("planted in what it learned"),
    "not_planted": _("never planted"),
    "not_learned": _("never learned"),
    "recall": _("Private facts"),
    "private_times_public": _("Private fact with public skill"),
    "paraphrase": _("Private facts in other words"),
    "arithmetic": _("Arithmetic on a private number"),
    "difference": _("Difference of two private numbers"),
    "format": _("Private facts as JSON"),
    "table": _("Private facts as a table"),
    "translation": _("Private facts in a sentence of another language"),
    "definition": _("What is said of a thing"),
    "section": _("Titles and numbers of sections"),
    "list": _("What belongs to a list"),
    "written": _("Questions that the anchor wrote"),
    "unanswerable": _("Says that it does not know"),
    "seen": _("seen by the bridges"),
    "unseen_entity": _("unseen entity"),
    "unseen_value": _("unseen value"),
    "unseen_skill": _("unseen task"),
    ALL: _("all together"),
}
EDITED = "counterfactual:"  # begins the kinds of questions about edited facts
TASK = "lm_eval"  # and those of its tasks
KINDS = ("recall", "paraphrase", "private_times_public", "general", *LEAKS)
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
    def label(self) -> object:
        return named(self.column)

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

    @property
    def compared(self) -> tuple[Place, ...]:
        """The places of everybody but the composition."""
        return tuple(place for place in self.places if place.column != COMPOSITION)


@dataclass(frozen=True)
class Matrix:
    """A table of a report.

    compared   other columns than the composition; empty where no difference was counted
    """

    columns: tuple[object, ...]
    rows: tuple[Row, ...]
    compared: tuple[object, ...]

    @property
    def told_apart(self) -> tuple[Row, ...]:
        """The rows in which the composition is compared with anybody."""
        return tuple(row for row in self.rows if any(place.difference for place in row.places))


def named(word: str) -> object:
    """The word that people read for a column, kind or slice."""
    if word.startswith(EDITED):
        return _("Edited: %(kind)s") % {"kind": named(word.removeprefix(EDITED))}
    if word.startswith(TASK):  # a name of lm_eval's, as it stands there
        return word.replace(":", ": ")
    return NAMES.get(word) or word.replace("_", " ")


def ordered(columns: Iterable[str], first: tuple[str, ...] = (*COLUMNS, *RIVALS)) -> list[str]:
    """Known ones in the order in which people compare, then the others by name."""
    left = set(columns)
    return [name for name in first if name in left] + sorted(left - set(first))


def matrix(report: Report) -> Matrix:
    """What ought to be known: every measured cell in its place."""
    cells = [cell for cell in report.measured() if cell.kind not in LEAKS]
    return _matrix(report, cells, COLUMNS)


def leaks(report: Report) -> Matrix:
    """What ought not to be said, in the same form; without rows where nobody was asked."""
    cells = [cell for cell in report.measured() if cell.kind in LEAKS]
    return _matrix(report, cells, ())


def by_corpus(report: Report) -> Matrix:
    """All that was held out of each corpus, kind by kind; without rows where there is one."""
    held = report.figures.get("corpora", [])
    columns = ordered({row["column"] for row in held})
    found = {(row["corpus"], row["kind"], row["column"]): row for row in held}
    rows = []
    for corpus in dict.fromkeys(row["corpus"] for row in held):
        for kind in ordered({row["kind"] for row in held if row["corpus"] == corpus}, KINDS):
            cells = [(name, found.get((corpus, kind, name))) for name in columns]
            places = tuple(_place(name, cell_of(row) if row else None, None) for name, row in cells)
            # Isolated as U+2068 and U+2069 do: a name may run, or turn, the other way.
            rows.append(Row(f"\u2068{corpus}\u2069", named(kind), places))
    return Matrix(tuple(named(name) for name in columns), tuple(rows), ())


def _matrix(report: Report, measured: list[Cell], wanted: tuple[str, ...]) -> Matrix:
    """A table of these cells, with the wanted columns in any case."""
    cells = {(cell.column, cell.kind, cell.slice): cell for cell in measured}
    columns = ordered({column for column, _kind, _slice in cells} | set(wanted))
    asked = {(kind, part) for _column, kind, part in cells}
    rows = []
    for kind in ordered({kind for kind, _slice in asked}, KINDS):
        parts = {each for name, each in asked if name == kind}
        for part in ordered(parts - {ALL} if len(parts) == 2 else parts, (*SLICES, ALL)):
            places = tuple(
                _place(
                    name,
                    cells.get((name, kind, part)),
                    # More of what ought not to be said is not better.
                    None if kind in LEAKS else report.difference(name, kind, part),
                )
                for name in columns
            )
            rows.append(Row(named(kind), named(part), places))
    others = [named(name) for name in columns if name != COMPOSITION]
    is_compared = any(place.difference for row in rows for place in row.places)
    return Matrix(
        tuple(named(name) for name in columns), tuple(rows), tuple(others if is_compared else ())
    )


def _place(column: str, cell: Cell | None, difference: Difference | None) -> Place:
    return Place(column, cell, "" if cell else WHY_NOT.get(column, _("not asked")), difference)


@dataclass(frozen=True)
class Weight:
    """One part of a composition: its parameters, and bytes that a token leaves in the caches."""

    part: object
    parameters: int
    cache: int


@dataclass(frozen=True)
class Pace:
    """How many questions a second a column answered in batches, and how many it was asked."""

    column: object
    rate: float
    n: int


PARTS = {"anchor": _("Anchor"), "augmenters": _("Augmenters"), "bridges": _("Bridges")}


def weights(report: Report) -> list[Weight]:
    """What each part weighs; none in reports that did not tell."""
    told = report.figures.get("costs") or {"parameters": {}}
    return [
        Weight(PARTS.get(part, part), count, told["cache"][part])
        for part, count in told["parameters"].items()
    ]


def paces(report: Report) -> list[Pace]:
    """The pace of everybody who was asked in the run's last attempt; trials are left out."""
    told = report.figures.get("pace", {})
    asked = [name for name in told if "@" not in name and told[name]["seconds"]]
    rates = {name: told[name]["questions"] / told[name]["seconds"] for name in asked}
    return [Pace(named(name), rates[name], int(told[name]["questions"])) for name in ordered(asked)]
