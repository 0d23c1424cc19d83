"""Corpora kept up to date from a place outside, and the files known of it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse

from apps.corpora.models.corpus import Corpus, OfCorpusQuerySet
from apps.corpora.models.uploads import UploadItem
from apps.tenants.models import TenantManager, TenantModel
from calm_engine.errors import InputError
from counterpoint.wording import sentence


class Connection(TenantModel):
    """One corpus and one place that IT named.

    round       counts the synchronisations; a file not met in the latest is gone from the place
    claimed_at  while a worker synchronises
    code        why the last one broke off; worded by `reason`
    """

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="connections")
    source = models.CharField(max_length=100)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    round = models.PositiveIntegerField(default=0)
    asked_at = models.DateTimeField(null=True, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    code = models.CharField(max_length=40, blank=True, default="")
    facts = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(OfCorpusQuerySet)()

    class Meta:
        ordering = ["source"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "corpus", "source"], name="connection_once")
        ]

    def __str__(self) -> str:
        return self.source

    def get_absolute_url(self) -> str:
        return reverse("corpora:corpus", kwargs={"code": self.corpus_id}) + "?tab=sources"

    @property
    def is_open(self) -> bool:
        """Whether a synchronisation was asked for and has not ended."""
        return self.asked_at is not None

    @property
    def reason(self) -> str:
        """Why the last synchronisation broke off, as a sentence; "" when it did not."""
        return sentence(InputError(self.code, **self.facts)) if self.code else ""


class SourceFile(TenantModel):
    """One file of a place as it was when last met.

    key      SHA-256 of the path, which may be longer than an index entry
    item     what became of it here
    gone_at  since when it is no longer there; a person says what becomes of its documents
    """

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="files")
    key = models.CharField(max_length=64)
    path = models.TextField()
    mark = models.CharField(max_length=200)
    item = models.ForeignKey(UploadItem, on_delete=models.PROTECT, related_name="+")
    round = models.PositiveIntegerField()
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["key"]
        indexes = [models.Index(fields=["tenant", "item"], name="source_file_by_item")]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "connection", "key"], name="source_file_once")
        ]

    def __str__(self) -> str:
        return self.path
