"""A corpus as it was when frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse

from apps.tenants.models import TenantManager, TenantModel

if TYPE_CHECKING:
    pass
from apps.corpora.models.corpus import Corpus, OfCorpusQuerySet


class Snapshot(TenantModel):
    """A corpus as it was when frozen: a manifest of digests, named by its own digest. Immutable.

    manifest  {"documents": [[digest, text digest, title], ...], "examples": [[digest, slice], ...],
              "split": {"seed", "entity_share", "value_share"}}
    """

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="snapshots")
    digest = models.CharField(max_length=64)
    manifest = models.JSONField()
    documents = models.PositiveIntegerField()
    tokens = models.PositiveBigIntegerField()
    note = models.CharField(max_length=300, blank=True, default="")
    frozen_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(OfCorpusQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "digest"], name="snapshot_once_per_corpus"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.corpus} {self.short}"

    @property
    def short(self) -> str:
        return self.digest[:12]

    def get_absolute_url(self) -> str:
        return reverse("corpora:snapshot", kwargs={"code": self.pk})
