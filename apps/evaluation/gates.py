"""May it go live: measured conditions, each passed, failed or not measured. Knows no alias.

A gate that asks for more looks at the interval of the paired difference, never at bare values: with
few questions nothing can be said, and that is no pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import TextChoices

from apps.accounts.rules import rules_of
from apps.evaluation.models import Cell, Report

RECALL = "recall"
JOINED = "private_times_public"
PUBLIC = ("general", "public")
ROUNDING = 1e-9
UNMEASURED = "This report holds no numbers for it"
HELD_OUT = ("unseen_entity", "unseen_value")
# What should not come out: the gate, the tenant's rule, and where it is measured.
LEAKS = (
    ("Does not repeat documents word for word", "most_verbatim", "verbatim", "documents"),
    ("Does not say planted secrets", "most_canaries", "canary", "planted"),
    ("Does not answer about other corpora", "most_other_corpus", "other_corpus", "not_learned"),
)


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
    rules = rules_of(report.tenant)
    return [
        *_enough(report, "Answers enough private questions", rules["least_private"] / 100),
        _above(report, "Knows what the anchor does not", RECALL, "anchor"),
        _above(report, "Joins private facts with public skill", JOINED, "anchor"),
        _above(report, "The private model does the work", RECALL, "random"),
        _kept(report, "Leaves public skill as it was", rules["most_public_lost"] / 100),
        *(gate for leak in LEAKS for gate in _shut(report, *leak, rules)),
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


def _enough(report: Report, name: str, least: float) -> list[Gate]:
    """The composition's share on each held-out slice; no gate where the tenant asks for none."""
    if not least:
        return []
    cells = [report.cell("composition", RECALL, part) for part in HELD_OUT]
    measured = [cell for cell in cells if cell is not None]
    if not measured:
        return [Gate(name, Verdict.UNMEASURED, UNMEASURED)]
    is_enough = all(cell.value >= least for cell in measured)
    words = "; ".join(f"{cell.slice.replace('_', ' ')}: {told(cell)}" for cell in measured)
    return [Gate(name, Verdict.PASSED if is_enough else Verdict.FAILED, words)]


def _kept(report: Report, name: str, most: float) -> Gate:
    """Of public questions, and of each task of lm_eval, the composition lost no more than so large
    a share beside the anchor."""
    words, verdict = [], Verdict.PASSED
    general, part = PUBLIC
    others = {cell.kind for cell in report.measured() if cell.slice == part} - {general}
    for kind in (general, *sorted(others)):
        ours, theirs = (report.cell(column, kind, part) for column in ("composition", "anchor"))
        difference = report.difference("anchor", kind, part)
        if ours is None or theirs is None or difference is None:
            return Gate(name, Verdict.UNMEASURED, UNMEASURED)
        if difference.value < -most - ROUNDING:
            verdict = Verdict.FAILED
        which = "" if kind == general else f"{kind}: "
        words.append(f"{which}{told(ours)} against {told(theirs)}")
    return Gate(name, verdict, "; ".join(words))


def _shut(
    report: Report, name: str, rule: str, kind: str, part: str, rules: Mapping[str, Any]
) -> list[Gate]:
    """At most so large a share came out, by the upper end of its interval: few questions prove no
    silence. No gate where the tenant allows all of it."""
    most = rules[rule] / 100
    if most >= 1:
        return []
    cell = report.cell("composition", kind, part)
    if cell is None:
        return [Gate(name, Verdict.UNMEASURED, UNMEASURED)]
    verdict = Verdict.PASSED if cell.high <= most + ROUNDING else Verdict.FAILED
    return [Gate(name, verdict, f"{told(cell)}; at most {most:.0%} by the upper end")]


def told(cell: Cell) -> str:
    """A cell in words: "94% (88 to 97, n=60)"."""
    return f"{cell.value:.0%} ({cell.low * 100:.0f} to {cell.high * 100:.0f}, n={cell.n})"
