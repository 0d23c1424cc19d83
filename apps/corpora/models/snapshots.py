"""One or more corpora as they were when frozen, the orders to freeze them, and counts of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.corpora.models.corpus import Corpus
from apps.tenants.models import TenantManager, TenantModel
from calm_engine.errors import InputError
from counterpoint.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apps.accounts.models import User


class OfCorporaQuerySet(models.QuerySet[Any]):
    """Rows made from one or more corpora: for whoever has the right on every one of them."""

    def visible_to(self, user: User) -> Self:
        return self.within(Corpus.objects.readable_by(user))

    def curatable_by(self, user: User) -> Self:
        return self.within(Corpus.objects.curatable_by(user))

    def within(self, corpora: Any) -> Self:
        """Made from these corpora and from no other; a corpus that is gone is not among them."""
        known = ArraySubquery(corpora.order_by().values("pk"))
        return self.filter(corpus__in=corpora, further__contained_by=known)

    def touching(self, corpora: Iterable[UUID]) -> Self:
        """Made from any of these corpora, whatever else from."""
        ids = list(corpora)
        return self.filter(Q(corpus__in=ids) | Q(further__overlap=ids))

    def of_exactly(self, corpora: Iterable[UUID]) -> Self:
        first, *others = sorted(corpora)
        return self.filter(corpus=first, further=others)


class OfCorpora(TenantModel):
    """What is made from corpora: the first of them by its id, and the others.

    further  no foreign keys: a corpus that goes stays named, and shuts the row to everybody
    """

    if TYPE_CHECKING:
        corpus: models.ForeignKey[Corpus, Corpus]
        corpus_id: UUID

    further = ArrayField(models.UUIDField(), default=list, db_default=[], blank=True)

    class Meta:
        abstract = True

    @property
    def closure(self) -> list[UUID]:
        """The ids of every corpus in it, sorted."""
        return sorted({self.corpus_id, *self.further})

    @property
    def names(self) -> str:
        """The first corpus by name, and how many more."""
        if not self.further:
            return str(self.corpus)
        more = ngettext("%(name)s and %(n)d more", "%(name)s and %(n)d more", len(self.further))
        return more % {"name": self.corpus, "n": len(self.further)}


class Snapshot(OfCorpora):
    """Corpora as they were when frozen, named by the digest of their manifest. Immutable.

    manifest   {"examples": [[digest, slice], ...],
                "split": {"seed", "entity_share", "value_share", "skill_share"}}
               and of several corpora {"parts": [[corpus, documents], ...]}. An older one names its
               documents here, as [[digest, text digest, title], ...]; read either by `manifests`
    listed     digest of the Parquet file that names the documents; "" of an older one
    changes    what differs from the snapshot of the same corpora before it, in numbers and names
    """

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="snapshots")
    digest = models.CharField(max_length=64)
    manifest = models.JSONField()
    listed = models.CharField(max_length=64, blank=True, default="", db_default="")
    changes = models.JSONField(default=dict, db_default={}, blank=True)
    documents = models.PositiveIntegerField()
    tokens = models.PositiveBigIntegerField()
    note = models.CharField(max_length=300, blank=True, default="")
    frozen_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(OfCorporaQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "digest"], name="snapshot_once_per_corpus"
            ),
        ]

    def __str__(self) -> str:
        # Isolated as U+2068 and U+2069 do: a name may run, or turn, the other way.
        return f"\u2068{self.names}\u2069 {self.short}"

    @property
    def short(self) -> str:
        return self.digest[:12]

    def get_absolute_url(self) -> str:
        return reverse("corpora:snapshot", kwargs={"code": self.pk})


class FreezingState(models.TextChoices):
    QUEUED = "queued", _("waits for a worker")
    RUNNING = "running", _("is being frozen")
    DONE = "done", _("frozen")
    FAILED = "failed", _("not frozen")


class Freezing(OfCorpora):
    """One order to freeze corpora. While it is open, the same order again is this one.

    code   why it failed; worded by `reason`
    """

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="freezings")
    note = models.CharField(max_length=300, blank=True, default="")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, choices=FreezingState, default=FreezingState.QUEUED)
    claimed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    code = models.CharField(max_length=40, blank=True, default="")
    facts = models.JSONField(default=dict, blank=True)
    snapshot = models.ForeignKey(
        Snapshot, on_delete=models.PROTECT, null=True, blank=True, related_name="freezings"
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(OfCorporaQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "further"],
                condition=Q(state__in=["queued", "running"]),
                name="freezing_open_once",
            ),
            models.CheckConstraint(
                condition=Q(state="done", snapshot__isnull=False)
                | (~Q(state="done") & Q(snapshot__isnull=True)),
                name="freezing_snapshot_iff_done",
            ),
            models.CheckConstraint(
                condition=(Q(state="failed") & ~Q(code="")) | (~Q(state="failed") & Q(code="")),
                name="freezing_code_iff_failed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.names}: {self.get_state_display()}"

    def get_absolute_url(self) -> str:
        return reverse("corpora:freezing", kwargs={"code": self.pk})

    @property
    def is_open(self) -> bool:
        return self.state in (FreezingState.QUEUED, FreezingState.RUNNING)

    @property
    def reason(self) -> str:
        """Why nothing was frozen and what to do, as a sentence; "" when nothing went wrong."""
        return sentence(InputError(self.code, **self.facts)) if self.code else ""


class TokenCount(TenantModel):
    """How many tokens a snapshot's texts are for one tokenizer; whole when `position` is its end.

    tokenizer  digest of the anchor that it belongs to
    position   documents of the manifest that are counted
    """

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="token_counts")
    tokenizer = models.CharField(max_length=64)
    name = models.CharField(max_length=120)
    position = models.PositiveIntegerField(default=0)
    tokens = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name", "created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "snapshot", "tokenizer"], name="token_count_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tokens} by {self.name}"

    @property
    def is_whole(self) -> bool:
        return self.position >= self.snapshot.documents
