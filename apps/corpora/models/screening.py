"""What the detectors found in documents, and the keys by which nearly equal texts meet."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from apps.corpora.models.corpus import Corpus, OfCorpusQuerySet
from apps.corpora.models.documents import Document
from apps.tenants.models import TenantManager, TenantModel


class FlagState(models.TextChoices):
    OPEN = "open", _("waits for a person")
    APPROVED = "approved", _("let in")
    REDACTED = "redacted", _("blacked out")
    EXCLUDED = "excluded", _("document left out")


class Flag(TenantModel):
    """One passage that a person must look at, by its characters in the extracted text.

    mark  the same for the same words in the same tenant, and no way back to them: passages that
          are alike are decided together without their words standing in the database
    """

    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="flags")
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="flags")
    kind = models.CharField(max_length=20)
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    mark = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=FlagState, default=FlagState.OPEN)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(OfCorpusQuerySet)()

    class Meta:
        ordering = ["document_id", "start"]
        indexes = [
            models.Index(fields=["tenant", "corpus", "state", "document"], name="flag_by_state"),
            models.Index(fields=["tenant", "corpus", "mark"], name="flag_by_mark"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "document", "start", "end", "kind"], name="flag_once"
            ),
            models.CheckConstraint(
                condition=Q(state="open", decided_at__isnull=True)
                | (~Q(state="open") & Q(decided_at__isnull=False)),
                name="flag_decided_iff_not_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} at {self.start}"


class NearKey(TenantModel):
    """One band of a document's signature. Only documents that stand for themselves have keys."""

    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="+")
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="near_keys")
    key = models.BigIntegerField()

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "corpus", "key"], name="near_key"),
            models.Index(fields=["tenant", "document"], name="near_key_by_document"),
        ]

    def __str__(self) -> str:
        return str(self.key)
