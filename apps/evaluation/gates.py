"""May it go live: measured conditions, each passed, failed or not measured. Knows no alias.

A gate that asks for more looks at the interval of the paired difference, never at bare values: with
few questions nothing can be said, and that is no pass.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import TextChoices

from apps.evaluation.models import Cell, Report

RECALL = "recall"
JOINED = "private_times_public"
PUBLIC = ("general", "public")
MOST_LOST = 0.01  # of public questions, beside the anchor
ROUNDING = 1e-9
UNMEASURED = "This report holds no numbers for it"
HELD_OUT = ("unseen_entity", "unseen_value")


class Verdict(TextChoices):
    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    UNMEASURED = "unmeasured", "Not measured"


@dataclass(frozen=True)
class Gate:
    """One condition: what it asks, how it came out, and the numbers in words."""

    name: str
    verdict: Verdict
    words: str

    @property
    def is_passed(self) -> bool:
        return self.verdict is Verdict.PASSED

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": str(self.verdict)}


def check(report: Report) -> list[Gate]:
    """Every gate on this report, in the order in which they are shown."""
    return [
        _above(report, "Knows what the anchor does not", RECALL, "anchor"),
        _above(report, "Joins private facts with public skill", JOINED, "anchor"),
        _above(report, "The private model does the work", RECALL, "random"),
        _kept(report, "Leaves public skill as it was"),
    ]


def passed(gates: list[Gate]) -> bool:
    return all(gate.is_passed for gate in gates)


def _above(report: Report, name: str, kind: str, other: str) -> Gate:
    """On each held-out slice that was measured, the composition is better than chance allows."""
    words, verdict = [], Verdict.PASSED
    for part in HELD_OUT:
        ours, theirs = report.cell("composition", kind, part), report.cell(other, kind, part)
        difference = report.difference(other, kind, part)
        if ours is None or theirs is None or difference is None:
            continue
        words.append(f"{part.replace('_', ' ')}: {told(ours)} against {told(theirs)}")
        if difference.low <= 0:
            verdict = Verdict.FAILED
    if not words:
        return Gate(name, Verdict.UNMEASURED, UNMEASURED)
    return Gate(name, verdict, "; ".join(words))


def _kept(report: Report, name: str) -> Gate:
    """On public questions the composition is within a point of the anchor, or better."""
    ours, theirs = (report.cell(column, *PUBLIC) for column in ("composition", "anchor"))
    difference = report.difference("anchor", *PUBLIC)
    if ours is None or theirs is None or difference is None:
        return Gate(name, Verdict.UNMEASURED, UNMEASURED)
    verdict = Verdict.PASSED if difference.value >= -MOST_LOST - ROUNDING else Verdict.FAILED
    return Gate(name, verdict, f"{told(ours)} against {told(theirs)}")


def told(cell: Cell) -> str:
    """A cell in words: "94% (88 to 97, n=60)"."""
    return f"{cell.value:.0%} ({cell.low * 100:.0f} to {cell.high * 100:.0f}, n={cell.n})"
