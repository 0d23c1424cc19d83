"""Paragraphs that many documents of a corpus share, and whether models are to learn them."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.corpora.models.corpus import Corpus, OfCorpusQuerySet
from apps.tenants.models import TenantManager, TenantModel


class Repeat(TenantModel):
    """One paragraph, by the key of its words; `sample` is how one document writes it."""

    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="repeats")
    key = models.BigIntegerField()
    sample = models.TextField()
    documents = models.PositiveIntegerField()
    left_out = models.BooleanField(default=False)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    objects = TenantManager.from_queryset(OfCorpusQuerySet)()

    class Meta:
        ordering = ["-documents", "key"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "corpus", "key"], name="repeat_once")
        ]

    def __str__(self) -> str:
        return f"in {self.documents} documents"
