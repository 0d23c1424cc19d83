"""What exists and is whole: a row here is written only when its files are stored and verified.

Parents are named by digest and never change. Who may use a composition is computed from its
closure whenever it is asked (`registry.closure`), and never stored on the composition.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.urls import reverse

from apps.corpora.models import Corpus, Snapshot
from apps.tenants.models import Membership, TenantManager, TenantModel

if TYPE_CHECKING:
    from apps.accounts.models import User

PLACEMENT_FRESH = timedelta(seconds=30)  # a host says so every few seconds; silence is not "ready"

WAKE_FOR = timedelta(minutes=2)  # a wish to wake that is older is over: nobody waits for it now


def readable_ids(user: User) -> ArraySubquery:
    """The ids of every corpus that this person may read, as one SQL array.

    None for whoever left the tenant or was deactivated, whatever grants still name them.
    """
    belongs = Membership.objects.filter(tenant=OuterRef("tenant"), user=user, user__is_active=True)
    readable = Corpus.objects.readable_by(user).filter(Exists(belongs))
    return ArraySubquery(readable.order_by().values("id"))


class LearnedQuerySet(models.QuerySet[Any]):
    """Rows with a closure: visible to whoever may read every corpus in it, and to nobody else."""

    def visible_to(self, user: User) -> Self:
        # An empty closure is contained in anything: shut out by a constraint, and again here.
        return self.exclude(closure=[]).filter(closure__contained_by=readable_ids(user))


class Anchor(TenantModel):
    """An open model brought in from a folder: frozen, never trained here, declared public."""

    name = models.CharField(max_length=120)
    digest = models.CharField(max_length=64)
    licence = models.CharField(max_length=120, blank=True)
    parameters = models.BigIntegerField(default=0)
    vocabulary = models.IntegerField(default=0)
    source = models.CharField(max_length=400, blank=True)
    public = models.BooleanField(default=True)  # declared by the person who brought it in
    facts = models.JSONField(default=dict)
    imported_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name", "created_at"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "digest"], name="anchor_once_per_tenant"),
            models.CheckConstraint(condition=Q(public=True), name="anchor_is_declared_public"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("registry:anchor", kwargs={"code": self.pk})


class Embedder(TenantModel):
    """An open model that turns texts into vectors: how passages are found by their meaning.

    Declared public like an anchor. One of a tenant is in use; the others are kept, not served.
    """

    name = models.CharField(max_length=120)
    digest = models.CharField(max_length=64)
    licence = models.CharField(max_length=120, blank=True)
    parameters = models.BigIntegerField(default=0)
    width = models.PositiveIntegerField()  # numbers of a vector
    facts = models.JSONField(default=dict)
    in_use = models.BooleanField(default=False)
    reading_at = models.DateTimeField(null=True, blank=True)  # a worker reads passages with it
    imported_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name", "created_at"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "digest"], name="embedder_once_per_tenant"),
            models.UniqueConstraint(
                fields=["tenant"], condition=Q(in_use=True), name="embedder_one_in_use"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Augmenter(TenantModel):
    """One version of a small private model that learned one or more snapshots."""

    name = models.CharField(max_length=120)
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    run_id = models.UUIDField()  # runs stand above: their row points here, we keep the bare id
    snapshots = models.ManyToManyField(
        Snapshot, through="AugmenterSnapshot", related_name="augmenters"
    )
    anchor = models.ForeignKey(Anchor, on_delete=models.PROTECT, related_name="augmenters")
    closure = ArrayField(models.UUIDField())
    parameters = models.BigIntegerField(default=0)
    metrics = models.JSONField(default=dict)
    facts = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(LearnedQuerySet)()

    class Meta:
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name", "version"], name="augmenter_version_once"
            ),
            models.UniqueConstraint(fields=["tenant", "run_id"], name="augmenter_once_per_run"),
            models.CheckConstraint(condition=~Q(closure=[]), name="augmenter_has_a_closure"),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    def get_absolute_url(self) -> str:
        return reverse("registry:augmenter", kwargs={"code": self.pk})


class AugmenterSnapshot(TenantModel):
    """Which snapshots an augmenter learned."""

    augmenter = models.ForeignKey(Augmenter, on_delete=models.PROTECT)
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "augmenter", "snapshot"], name="augmenter_snapshot_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.augmenter_id} learned {self.snapshot_id}"


class CompositionQuerySet(LearnedQuerySet):
    """Compositions; quarantine bars use, not the sight of those who may read the closure."""

    def usable_by(self, user: User) -> Self:
        return self.visible_to(user).filter(state=Composition.State.READY)

    def live(self) -> Self:
        """Those that a `live` alias names now."""
        return self.filter(aliases__name=Alias.LIVE)


class Composition(TenantModel):
    """Exact anchor, augmenters and bridges: one version, one digest."""

    class State(models.TextChoices):
        READY = "ready", "Ready"
        QUARANTINED = "quarantined", "Quarantined"

    name = models.CharField(max_length=120)
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    anchor = models.ForeignKey(Anchor, on_delete=models.PROTECT, related_name="compositions")
    augmenters = models.ManyToManyField(
        Augmenter, through="CompositionPart", related_name="compositions"
    )
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="compositions")
    run_id = models.UUIDField()
    closure = ArrayField(models.UUIDField())
    parents = models.JSONField(default=dict)
    metrics = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State, default=State.READY)
    state_reason = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(CompositionQuerySet)()

    class Meta:
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name", "version"], name="composition_version_once"
            ),
            models.UniqueConstraint(fields=["tenant", "run_id"], name="composition_once_per_run"),
            models.CheckConstraint(condition=~Q(closure=[]), name="composition_has_a_closure"),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    def get_absolute_url(self) -> str:
        return reverse("registry:composition", kwargs={"code": self.pk})

    def parts(self) -> list[Augmenter]:
        """Its augmenters, in the order in which the bridges were made."""
        return list(self.augmenters.order_by("compositionpart__position"))


class CompositionPart(TenantModel):
    """One augmenter of a composition, at its place."""

    composition = models.ForeignKey(Composition, on_delete=models.PROTECT)
    augmenter = models.ForeignKey(Augmenter, on_delete=models.PROTECT)
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "composition", "position"], name="composition_part_place_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.composition_id}[{self.position}]"


class Alias(TenantModel):
    """A movable name on one composition of one model; every move leaves an `AliasChange`."""

    LIVE: ClassVar[str] = "live"
    CANDIDATE: ClassVar[str] = "candidate"
    NAMES: ClassVar[list[tuple[str, str]]] = [(LIVE, "live"), (CANDIDATE, "candidate")]

    model = models.CharField(max_length=120)
    name = models.CharField(max_length=12, choices=NAMES)
    composition = models.ForeignKey(Composition, on_delete=models.PROTECT, related_name="aliases")
    moved_at = models.DateTimeField(db_default=Now())
    keep_warm = models.BooleanField(db_default=False)  # of `live`: never put to sleep for others

    class Meta:
        ordering = ["model", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "model", "name"], name="alias_has_one_target"
            ),
            models.CheckConstraint(
                condition=Q(name__in=["live", "candidate"]), name="alias_name_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model}:{self.name}"


class AliasChange(TenantModel):
    """One move of an alias; append-only: what was live on a day has an answer for ever."""

    model = models.CharField(max_length=120)
    name = models.CharField(max_length=12)
    before = models.ForeignKey(
        Composition, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    after = models.ForeignKey(Composition, on_delete=models.PROTECT, related_name="alias_changes")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    reason = models.TextField(blank=True)
    gates = models.JSONField(default=list)
    report_id = models.UUIDField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.model}:{self.name} -> {self.after_id}"


class ModelHost(TenantModel):
    """A machine's model host as one tenant sees it; silent for long means gone."""

    name = models.CharField(max_length=200)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="model_host_once")]

    def __str__(self) -> str:
        return self.name


class PlacementQuerySet(models.QuerySet["Placement"]):
    """Placements; `serving` are those that answered lately."""

    def serving(self) -> Self:
        return self.with_freshness().filter(is_fresh=True, state=Placement.State.READY)

    def with_freshness(self) -> Self:
        """Each with `is_fresh`: whether it was heard of lately, by the database's clock."""
        return self.annotate(is_fresh=Q(seen_at__gte=Now() - PLACEMENT_FRESH))


class Placement(TenantModel):
    """One model served, or about to be, at one address by one host."""

    class State(models.TextChoices):
        STARTING = "starting", "Starting"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"
        STOPPING = "stopping", "Stopping"
        RESTING = "resting", "Resting"  # a training has its accelerator; it comes back by itself
        ASLEEP = "asleep", "Asleep"  # others needed its memory; a question wakes it

    composition = models.ForeignKey(
        Composition, on_delete=models.CASCADE, null=True, blank=True, related_name="placements"
    )
    embedder = models.ForeignKey(
        Embedder, on_delete=models.CASCADE, null=True, blank=True, related_name="placements"
    )
    host = models.ForeignKey(ModelHost, on_delete=models.CASCADE, related_name="placements")
    address = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.STARTING)
    reason = models.TextField(blank=True)
    seen_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(db_default=Now())
    asked_at = models.DateTimeField(null=True, blank=True)  # while asleep: somebody wants it
    under_way = models.PositiveIntegerField(db_default=0)  # requests that it has, as last told
    places = models.PositiveIntegerField(db_default=0)  # answers that it writes at once; 0: untold

    objects = TenantManager.from_queryset(PlacementQuerySet)()

    class Meta:
        ordering = ["-started_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "composition", "host"], name="placement_once_per_host"
            ),
            models.UniqueConstraint(
                fields=["tenant", "embedder", "host"], name="embedder_once_per_host"
            ),
            models.CheckConstraint(
                condition=Q(composition__isnull=True) ^ Q(embedder__isnull=True),
                name="placement_of_one_model",
            ),
            models.CheckConstraint(
                condition=~Q(state="ready") | ~Q(address=""), name="placement_ready_has_address"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.composition_id or self.embedder_id} at {self.address or 'no address yet'}"
