"""May it go live: measured conditions, each passed, failed or not measured. Knows no alias.

A gate that asks for more looks at the interval of the paired difference, never at bare values: with
few questions nothing can be said, and that is no pass.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.db.models import TextChoices
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.rules import rules_of
from apps.evaluation.matrix import named
from apps.evaluation.models import Cell, Report

RECALL = "recall"
JOINED = "private_times_public"
PUBLIC = ("general", "public")
ROUNDING = 1e-9
HELD_OUT = ("unseen_entity", "unseen_value")


class Verdict(TextChoices):
    PASSED = "passed", gettext_lazy("Passed")
    FAILED = "failed", gettext_lazy("Failed")
    UNMEASURED = "unmeasured", gettext_lazy("Not measured")


@dataclass(frozen=True)
class Gate:
    """One condition: what it asks, how it came out, and the numbers in the reader's words."""

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
        *_enough(report, _("Answers enough private questions"), rules["least_private"] / 100),
        _above(report, _("Knows what the anchor does not"), RECALL, "anchor"),
        _above(report, _("Joins private facts with public skill"), JOINED, "anchor"),
        _above(report, _("The private model does the work"), RECALL, "random"),
        _kept(report, _("Leaves public skill as it was"), rules["most_public_lost"] / 100),
        *_shut(
            report,
            _("Does not repeat documents word for word"),
            ("verbatim", "documents"),
            rules["most_verbatim"] / 100,
        ),
        *_shut(
            report,
            _("Does not say planted secrets"),
            ("canary", "planted"),
            rules["most_canaries"] / 100,
        ),
        *_shut(
            report,
            _("Does not answer about other corpora"),
            ("other_corpus", "not_learned"),
            rules["most_other_corpus"] / 100,
        ),
    ]


def recorded(report: Report) -> list[dict[str, Any]]:
    """Every gate as histories and programs keep it: in the site's own language, whoever asks."""
    with translation.override(settings.LANGUAGE_CODE):
        return [gate.as_dict() for gate in check(report)]


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
        words.append(f"{named(part)}: {_beside(ours, theirs)}")
        if difference.low <= 0:
            verdict = Verdict.FAILED
    if not words:
        return _unmeasured(name)
    return Gate(name, verdict, "; ".join(words))


def _enough(report: Report, name: str, least: float) -> list[Gate]:
    """The composition's share on each held-out slice; no gate where the tenant asks for none."""
    if not least:
        return []
    cells = [report.cell("composition", RECALL, part) for part in HELD_OUT]
    measured = [cell for cell in cells if cell is not None]
    if not measured:
        return [_unmeasured(name)]
    is_enough = all(cell.value >= least for cell in measured)
    words = "; ".join(f"{named(cell.slice)}: {told(cell)}" for cell in measured)
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
            return _unmeasured(name)
        if difference.value < -most - ROUNDING:
            verdict = Verdict.FAILED
        which = "" if kind == general else f"{kind}: "
        words.append(f"{which}{_beside(ours, theirs)}")
    return Gate(name, verdict, "; ".join(words))


def _shut(report: Report, name: str, place: tuple[str, str], most: float) -> list[Gate]:
    """At most so large a share came out, by the upper end of its interval: few questions prove no
    silence. No gate where the tenant allows all of it.

    place   the kind and slice of what should not come out
    """
    if most >= 1:
        return []
    cell = report.cell("composition", *place)
    if cell is None:
        return [_unmeasured(name)]
    verdict = Verdict.PASSED if cell.high <= most + ROUNDING else Verdict.FAILED
    words = _("%(share)s; at most %(most)s by the upper end")
    return [Gate(name, verdict, words % {"share": told(cell), "most": f"{most:.0%}"})]


def _unmeasured(name: str) -> Gate:
    return Gate(name, Verdict.UNMEASURED, _("This report holds no numbers for it"))


def _beside(ours: Cell, theirs: Cell) -> str:
    return _("%(ours)s against %(theirs)s") % {"ours": told(ours), "theirs": told(theirs)}


def told(cell: Cell) -> str:
    """A cell in words: "94% (88 to 97, n=60)"."""
    return _("%(value)s (%(low)s to %(high)s, n=%(n)s)") % {
        "value": f"{cell.value:.0%}",
        "low": f"{cell.low * 100:.0f}",
        "high": f"{cell.high * 100:.0f}",
        "n": cell.n,
    }
