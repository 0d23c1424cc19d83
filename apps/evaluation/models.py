"""What is asked and what came of it. A report is written once, whole, and never touched again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models.functions import Now
from django.urls import reverse

from apps.corpora.models import Snapshot
from apps.registry.models import Composition
from apps.runs.models import Run
from apps.tenants.models import TenantManager, TenantModel

if TYPE_CHECKING:
    from apps.accounts.models import User

# The order in which people compare: alone, alone, together, and the control.
COLUMNS = ("anchor", "augmenter", "composition", "random")
RIVALS = (
    "anchor_rag",
    "composition_rag",
    "anchor_lora",
    "anchor_lora_documents",
    "mismatched",
    "scrambled",
    "swapped",
)
SLICES = (
    "seen",
    "unseen_entity",
    "unseen_value",
    "unseen_skill",
    "public",
    "documents",
    "planted",
    "not_planted",
    "not_learned",
)
LEAKS = ("verbatim", "canary", "other_corpus")  # kinds of which less is better


class QuestionSet(TenantModel):
    """The held-out questions of one snapshot, named by their digest."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="question_sets")
    digest = models.CharField(max_length=64)
    questions = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "snapshot", "digest"], name="question_set_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.questions} questions of {self.snapshot}"


@dataclass(frozen=True)
class Cell:
    """One measured number: a share in [0, 1], out of n, with its 95 % interval.

    column   who was asked: anchor, augmenter, composition, random, bridges_only ...
    kind     what for: recall, private_times_public ...
    slice    seen, unseen_entity (the bridges never met it), unseen_value (nor its value) or
             unseen_skill (they never met such a task)
    """

    column: str
    kind: str
    slice: str
    value: float
    n: int
    low: float
    high: float


def cell_of(row: Mapping[str, Any]) -> Cell:
    """A cell as the engine counted it; what else stands in the row is left."""
    return Cell(
        column=str(row["column"]),
        kind=str(row["kind"]),
        slice=str(row["slice"]),
        value=float(row["value"]),
        n=int(row["n"]),
        low=float(row["low"]),
        high=float(row["high"]),
    )


@dataclass(frozen=True)
class Difference:
    """How much more one share is than another, in [-1, 1], with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def look(self) -> str:
        """Better, worse, or not told apart, as the style sheet knows it."""
        return "ok" if self.low > 0 else "bad" if self.high < 0 else "off"


class ReportQuerySet(models.QuerySet["Report"]):
    """A report quotes corpus text: it is seen by whoever may read the closure."""

    def visible_to(self, user: User) -> Self:
        return self.filter(composition__in=Composition.objects.visible_to(user))


class Report(TenantModel):
    """One composition beside its parents and its control, on one question set. Immutable.

    figures   what the engine counted besides: cells by "corpora", paired "differences" to the other
              columns, "attribution", the "overlap" of what was asked and learned, how much was
              "reads", how facts were "swapped" or "why_not", what a "judge" decided, by which
              "command", at what "pace", and what it "costs"
    """

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="reports")
    composition = models.ForeignKey(Composition, on_delete=models.PROTECT, related_name="reports")
    question_set = models.ForeignKey(QuestionSet, on_delete=models.PROTECT, related_name="reports")
    cells = models.JSONField()
    figures = models.JSONField(default=dict, db_default={})
    items_digest = models.CharField(max_length=64)
    items_file = models.CharField(max_length=200, blank=True)
    verdict = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(ReportQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "run"], name="report_once_per_run")
        ]

    def __str__(self) -> str:
        return f"Report on {self.composition}"

    def get_absolute_url(self) -> str:
        return reverse("evaluation:report", kwargs={"code": self.pk})

    def measured(self) -> list[Cell]:
        return [Cell(**cell) for cell in self.cells]

    def difference(self, column: str, kind: str, part: str) -> Difference | None:
        """How far the composition lies above this column, or None where they were not compared."""
        for row in self.figures.get("differences", []):
            if (row["column"], row["kind"], row["slice"]) == (column, kind, part):
                return Difference(**{name: row[name] for name in ("value", "low", "high")})
        return None

    def cell(self, column: str, kind: str, part: str) -> Cell | None:
        """The number for this column, kind and slice, or None when it was not measured."""
        for cell in self.measured():
            if (cell.column, cell.kind, cell.slice) == (column, kind, part):
                return cell
        return None
