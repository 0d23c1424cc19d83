"""The texts of a corpus, and the questions that a curator wrote about them.

Texts and originals live in storage under their digests; rows hold names and numbers.
"""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Coalesce, Left, Now, NullIf
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.corpora.models.corpus import Corpus, OfCorpusQuerySet
from apps.tenants.models import TenantManager, TenantModel


class DocumentState(models.TextChoices):
    READY = "ready", _("ready")
    HELD = "held", _("waits for review")
    DUPLICATE = "duplicate", _("nearly the same as another")
    EXCLUDED = "excluded", _("left out")
    WITHDRAWN = "withdrawn", _("withdrawn")
    DELETED = "deleted", _("deleted")


class DocumentQuerySet(OfCorpusQuerySet):
    def ready(self) -> Self:
        return self.filter(state=DocumentState.READY)


class Document(TenantModel):
    """One text with its original. The same bytes stand in a corpus once."""

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="documents")
    title = models.CharField(max_length=200)
    path = models.CharField(max_length=1000)
    # A path may be longer than an index entry; its beginning orders the list.
    sorting = models.GeneratedField(
        expression=Left("path", 200), output_field=models.CharField(max_length=200), db_persist=True
    )
    media_type = models.CharField(max_length=100)
    size = models.BigIntegerField(default=0)
    original_digest = models.CharField(max_length=64)
    text_digest = models.CharField(max_length=64)
    tokens = models.PositiveIntegerField(default=0)  # an estimate: four bytes of UTF-8 a token
    language = models.CharField(max_length=8, blank=True, default="")
    facts = models.JSONField(default=dict, blank=True)
    pages = models.JSONField(default=list, blank=True)  # the character where each begins
    state = models.CharField(max_length=10, choices=DocumentState, default=DocumentState.READY)
    # What the state follows from; `actions.documents.settle` is the only place that says how.
    left_out = models.BooleanField(default=False)  # a person's wish
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    duplicate_of = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="copies"
    )
    similarity = models.FloatField(null=True, blank=True)  # Jaccard with `duplicate_of`
    kept_apart = models.BooleanField(default=False)  # a person said that it is no duplicate
    redacted_digest = models.CharField(max_length=64, blank=True, default="")
    replaced_by = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaces"
    )
    # False of what was filed before there was screening; whoever writes a row screens it.
    screened = models.BooleanField(default=True, db_default=True)
    policy_version = models.PositiveIntegerField(default=1)  # that it was screened under
    found = models.JSONField(default=dict, blank=True)  # {kind: how many findings}
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(DocumentQuerySet)()

    # What `training_digest` says, asked in the database.
    TRAINING_DIGEST = Coalesce(NullIf("redacted_digest", Value("")), "text_digest")

    class Meta:
        ordering = ["path", "created_at"]
        indexes = [
            models.Index(fields=["tenant", "corpus", "sorting", "id"], name="document_by_path"),
            models.Index(
                fields=["tenant", "corpus", "state", "sorting", "id"], name="document_by_state_path"
            ),
            models.Index(
                fields=["tenant", "corpus", "created_at", "id"], name="document_by_arrival"
            ),
            models.Index(
                fields=["tenant", "corpus", "state"], include=["tokens"], name="document_tokens"
            ),
            models.Index(fields=["tenant", "corpus", "policy_version"], name="document_by_policy"),
            models.Index(
                fields=["tenant", "corpus"],
                condition=Q(screened=False),
                name="document_unscreened",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "corpus", "original_digest"], name="document_once_per_corpus"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_gone(self) -> bool:
        """Withdrawn or deleted: no later snapshot holds it."""
        return self.state in (DocumentState.WITHDRAWN, DocumentState.DELETED)

    def get_absolute_url(self) -> str:
        return reverse("corpora:document", kwargs={"code": self.pk})

    @property
    def training_digest(self) -> str:
        """The text that models learn: with passages blacked out where somebody decided so."""
        return self.redacted_digest or self.text_digest

    @property
    def look(self) -> str:
        """The badge that this state wears on pages."""
        looks = {
            DocumentState.READY: "ok",
            DocumentState.HELD: "warn",
            DocumentState.EXCLUDED: "warn",
        }
        return looks.get(DocumentState(self.state), "off")


class ExampleQuerySet(OfCorpusQuerySet):
    def asking(self, words: str) -> Self:
        """Those with these words in the question, the answer or what it is about."""
        said = [Q(**{f"{each}__icontains": words}) for each in ("question", "answer", "entity")]
        return self.filter(said[0] | said[1] | said[2])

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
