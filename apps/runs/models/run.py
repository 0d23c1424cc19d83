"""Runs, their numbers and their events. The row is the truth; a message only wakes a worker.

A run knows what goes in (rows of the registry) and where it stands; how it is claimed is in
`runs.claims`, how it is beaten in `runs.execution`, how it ends in `runs.endings`, and what it
leaves behind in `runs.actions`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse

from apps.corpora.models import Snapshot
from apps.registry.models import Anchor, Augmenter, Composition, LearnedQuerySet
from apps.runs.states import ACTIVE, FINAL, Cause, Control, Kind, State
from apps.tenants.models import TenantManager, TenantModel

STALLED_AFTER = timedelta(seconds=45)  # three heartbeats: the page says so, the lease decides


class RunQuerySet(LearnedQuerySet):
    """Runs; what they learn from decides who sees them."""

    def active(self) -> Self:
        return self.filter(state__in=ACTIVE)

    def of_plan(self, plan_id: object) -> Self:
        return self.filter(plan=plan_id).order_by("created_at")


class Run(TenantModel):
    """One piece of long work: augment, compose or evaluate; or a dry run, to know what one needs.

    epoch      grows with every claim; whoever holds an older one may write nothing
    lease_until, owner   set exactly while running, by the database's clock
    closure    every corpus that the run reads: samples, log and result quote them
    spec       the whole spec of the engine, its folders written as references (`runs.references`)
    attempts   claims so far; a drained worker gives its claim back
    died_at    the step at which the last attempt was lost: dying there twice is a failure
    changes    fields of the spec that a later attempt was given, such as a smaller micro-batch
    pause_requested_at   while it works: the wish; while it waits: paused, nobody claims it
    discard    when it is cancelled its checkpoints go as well
    used_seconds   of an accelerator, over all attempts
    device_bytes   memory that a slot must have for it; 0 where that is not known
    source     the run that this one repeats exactly, or whose checkpoint `branch_step` it goes on
               from
    augmenter  what is composed; of an augment run the one that it goes on from or, where its spec
               names documents to forget, the one that learned them (`runs.starts`)
    base       the open model that an augment run goes on from
    """

    kind = models.CharField(max_length=10, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    queue = models.CharField(max_length=20, default="gpu")
    name = models.CharField(max_length=120)
    spec = models.JSONField()
    closure = ArrayField(models.UUIDField())
    priority = models.SmallIntegerField(default=0)  # smaller is sooner
    attempts = models.PositiveIntegerField(default=0)
    epoch = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    owner = models.CharField(max_length=200, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    died_at = models.PositiveIntegerField(null=True, blank=True)
    failure_code = models.CharField(max_length=60, blank=True)
    failure_text = models.TextField(blank=True)
    cause = models.CharField(max_length=6, choices=Cause, blank=True)
    changes = models.JSONField(default=dict)
    pause_requested_at = models.DateTimeField(null=True, blank=True)
    discard = models.BooleanField(default=False)
    used_seconds = models.FloatField(default=0.0)
    device_bytes = models.BigIntegerField(default=0)
    outcome = models.JSONField(null=True, blank=True)

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="runs")
    anchor = models.ForeignKey(Anchor, on_delete=models.PROTECT, related_name="runs")
    augmenter = models.ForeignKey(
        Augmenter, on_delete=models.PROTECT, null=True, blank=True, related_name="runs"
    )
    base = models.ForeignKey(
        Anchor, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    composition = models.ForeignKey(
        Composition, on_delete=models.PROTECT, null=True, blank=True, related_name="runs"
    )
    control_run = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="evaluations"
    )
    control = models.CharField(max_length=8, choices=Control, default=Control.NONE)
    plan = models.UUIDField(null=True, blank=True)  # plans stand above runs
    source = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="descendants"
    )
    branch_step = models.PositiveIntegerField(null=True, blank=True)

    stage = models.CharField(max_length=40, blank=True)
    step = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    eta_seconds = models.FloatField(null=True, blank=True)
    message = models.TextField(blank=True)
    samples = models.JSONField(default=list)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager.from_queryset(RunQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="run_newest"),
            models.Index(fields=["tenant", "plan"], name="run_of_plan"),
            # The dispatcher asks each tenant for its first few: one look at this index each.
            models.Index(
                fields=["tenant", "queue", "priority", "created_at", "id"],
                name="run_front",
                condition=Q(state="queued", pause_requested_at=None),
            ),
            models.Index(fields=["tenant"], name="run_busy", condition=Q(state="running")),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=State.values), name="run_state_known"),
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="run_kind_known"),
            models.CheckConstraint(
                condition=Q(state__in=FINAL, finished_at__isnull=False)
                | Q(state__in=ACTIVE, finished_at__isnull=True),
                name="run_finished_iff_final",
            ),
            models.CheckConstraint(
                condition=(Q(state="failed") & ~Q(failure_code=""))
                | (~Q(state="failed") & Q(failure_code="")),
                name="run_failure_iff_failed",
            ),
            models.CheckConstraint(
                condition=Q(state="failed") | Q(cause=""), name="run_cause_only_when_failed"
            ),
            models.CheckConstraint(
                condition=Q(branch_step=None) | Q(source__isnull=False), name="run_branch_of_one"
            ),
            models.CheckConstraint(
                condition=(Q(state="running", lease_until__isnull=False) & ~Q(owner=""))
                | (~Q(state="running") & Q(lease_until__isnull=True, owner="")),
                name="run_lease_iff_running",
            ),
            models.CheckConstraint(
                condition=~Q(state="succeeded") | Q(outcome__isnull=False),
                name="run_success_has_outcome",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["augment", "estimate"], composition=None)
                | Q(kind="compose", augmenter__isnull=False, composition=None, base=None)
                | Q(kind="evaluate", composition__isnull=False, base=None),
                name="run_inputs_fit_kind",
            ),
            models.CheckConstraint(
                condition=Q(control="none") | Q(control="random", kind="compose"),
                name="run_control_composes",
            ),
            models.CheckConstraint(condition=~Q(closure=[]), name="run_has_a_closure"),
            models.UniqueConstraint(
                fields=["tenant", "plan", "kind", "control"],
                name="run_once_per_plan_step",
                condition=Q(plan__isnull=False, state__in=["queued", "running", "succeeded"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.name}"

    def get_absolute_url(self) -> str:
        return reverse("runs:run", kwargs={"code": self.pk})

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def is_stopping(self) -> bool:
        return self.cancel_requested_at is not None and not self.is_final

    @property
    def is_paused(self) -> bool:
        return self.pause_requested_at is not None and self.state == State.QUEUED

    @property
    def is_pausing(self) -> bool:
        return self.pause_requested_at is not None and self.state == State.RUNNING

    @property
    def asked(self) -> dict[str, Any]:
        """The spec of the next attempt: what was asked for, and what was changed since."""
        return {**self.spec, **self.changes}

    def is_silent(self, now: datetime) -> bool:
        """Running, and nothing heard for three heartbeats; the lease may still save it."""
        if self.state != State.RUNNING or self.heartbeat_at is None:
            return False
        return now - self.heartbeat_at > STALLED_AFTER

    def percent(self) -> int:
        return min(100, self.step * 100 // self.total) if self.total else 0

    def note(self, kind: str, text: str) -> RunEvent:
        """Write one line of this run's story: what happened, never document text."""
        event: RunEvent = RunEvent.objects.create(run=self, kind=kind, text=text)
        return event


class RunMetric(TenantModel):
    """One number at one step; emitted again after a resume, so it is keyed and upserted."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="metrics")
    step = models.PositiveIntegerField()
    name = models.CharField(max_length=80)
    value = models.FloatField()

    class Meta:
        ordering = ["name", "step"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "run", "step", "name"], name="run_metric_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.step}={self.value:g}"


class RunEvent(TenantModel):
    """One line of a run's story, such as "resumed from step 40"."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=30)
    text = models.TextField()

    class Meta:
        ordering = ["at", "id"]
        indexes = [models.Index(fields=["tenant", "run", "at"], name="run_event_story")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class RunSample(TenantModel):
    """The fixed questions and their answers at one look, kept for the page; they quote the corpus.

    samples   [{"question", "expected", "answer"}, ...]
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="looks")
    step = models.PositiveIntegerField()
    samples = models.JSONField()

    class Meta:
        ordering = ["step"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "run", "step"], name="run_sample_once")
        ]

    def __str__(self) -> str:
        return f"samples at step {self.step}"


class RunCheckpoint(TenantModel):
    """A checkpoint as its worker last saw it: whole on disk, with the digest of its manifest.

    is_milestone   it outlives its run: what it had not met yet can be forgotten from there
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="checkpoints")
    step = models.PositiveIntegerField()
    epoch = models.PositiveIntegerField()
    bytes = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64)
    is_milestone = models.BooleanField(default=False, db_default=False)
    loss = models.FloatField(null=True, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-step"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "run", "step"], name="run_checkpoint_once")
        ]

    def __str__(self) -> str:
        return f"checkpoint at step {self.step}"
