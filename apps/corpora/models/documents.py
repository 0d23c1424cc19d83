"""The texts of a corpus, and the questions that a curator wrote about them.

Texts and originals live in storage under their digests; rows hold names and numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.tenants.models import TenantManager, TenantModel

if TYPE_CHECKING:
    pass
from apps.corpora.models.corpus import Corpus, OfCorpusQuerySet


class DocumentState(models.TextChoices):
    READY = "ready", _("ready")
    EXCLUDED = "excluded", _("left out")
    WITHDRAWN = "withdrawn", _("withdrawn")


class DocumentQuerySet(OfCorpusQuerySet):
    def ready(self) -> Self:
        return self.filter(state=DocumentState.READY)


class Document(TenantModel):
    """One text with its original. The same bytes stand in a corpus once."""

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="documents")
    title = models.CharField(max_length=200)
    path = models.CharField(max_length=1000)
    media_type = models.CharField(max_length=100)
    size = models.BigIntegerField(default=0)
    original_digest = models.CharField(max_length=64)
    text_digest = models.CharField(max_length=64)
    tokens = models.PositiveIntegerField(default=0)  # an estimate: four bytes of UTF-8 a token
    language = models.CharField(max_length=8, blank=True, default="")
    facts = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=10, choices=DocumentState, default=DocumentState.READY)
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(DocumentQuerySet)()

    class Meta:
        ordering = ["path", "created_at"]
        indexes = [models.Index(fields=["tenant", "corpus", "state"], name="document_by_state")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "original_digest"], name="document_once_per_corpus"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("corpora:document", kwargs={"code": self.pk})

    @property
    def look(self) -> str:
        """The badge that this state wears on pages."""
        looks = {DocumentState.READY: "ok", DocumentState.EXCLUDED: "warn"}
        return looks.get(DocumentState(self.state), "off")


class ExampleQuerySet(OfCorpusQuerySet):
    def ready(self) -> Self:
        return self.filter(excluded=False)


class Example(TenantModel):
    """A question with the answer a curator wants. Never edited: snapshots name it by digest."""

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="examples")
    digest = models.CharField(max_length=64)
    question = models.TextField()
    answer = models.TextField()
    expected = models.TextField()
    entity = models.CharField(max_length=200, blank=True, default="")
    value = models.CharField(max_length=200, blank=True, default="")
    kind = models.CharField(max_length=60, default="recall")
    excluded = models.BooleanField(default=False)
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(ExampleQuerySet)()

    class Meta:
        ordering = ["created_at", "digest"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "digest"], name="example_once_per_corpus"
            ),
        ]

    def __str__(self) -> str:
        return self.question
