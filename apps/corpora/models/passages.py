"""The words of documents as a search finds them; in plain, under the database's seal."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import Q
from pgvector.django import VectorField

from apps.corpora.models.corpus import Corpus, OfCorpusQuerySet
from apps.corpora.models.documents import Document
from apps.tenants.models import TenantManager, TenantModel


class Passage(TenantModel):
    """A few paragraphs of one document, by their characters in its extracted text."""

    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="passages")
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="passages")
    page = models.PositiveIntegerField()
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    body = models.TextField()
    # Words as they are: a corpus mixes languages, and stems of one harm another.
    words = models.GeneratedField(
        expression=SearchVector("body", config="simple"),
        output_field=SearchVectorField(),
        db_persist=True,
    )
    # What it is about, as the embedder of this digest tells it; "" where none has read it yet. No
    # width is fixed: it is the embedder's, and vectors of two are never compared.
    vector = VectorField(null=True, blank=True)
    embedded_by = models.CharField(max_length=64, blank=True, db_default="", default="")

    objects = TenantManager.from_queryset(OfCorpusQuerySet)()

    class Meta:
        ordering = ["document_id", "start"]
        indexes = [
            models.Index(fields=["tenant", "corpus"], name="passage_by_corpus"),
            models.Index(fields=["tenant", "document", "start"], name="passage_by_document"),
            models.Index(fields=["tenant", "embedded_by"], name="passage_by_embedder"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(vector__isnull=True) ^ ~Q(embedded_by=""),
                name="passage_vector_has_an_embedder",
            )
        ]

    def __str__(self) -> str:
        return f"{self.document_id} from {self.start}"

    def get_absolute_url(self) -> str:
        return self.address(0, self.end - self.start)

    def address(self, begin: int, end: int) -> str:
        """Where the document is open with these characters of the passage marked."""
        query = urlencode({"from": self.start + begin, "to": self.start + end})
        return f"{self.document.get_absolute_url()}?{query}#found"
