"""What is to be forgotten, since when, by whose order, and the certificate at its end.

What a plan affects is computed from lineage whenever it is asked; only acts, and what a curator
decided about a document that may speak of a person, are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.corpora.models import Corpus, Document
from apps.tenants.models import TenantManager, TenantModel

if TYPE_CHECKING:
    from apps.accounts.models import User


class ForgetPlanQuerySet(models.QuerySet["ForgetPlan"]):
    def visible_to(self, user: User) -> Self:
        """Those of corpora that they may read, and those of people: the page is a curator's."""
        readable = Q(corpus__in=Corpus.objects.readable_by(user))
        return self.filter(readable | Q(person__isnull=False))


class ForgetPlan(TenantModel):
    """Forget a document, a whole corpus, or a person: exact retraining, never unlearning.

    corpus       None when a person is to be forgotten, whose documents stand in `mentions`
    digest       of the document's original; "" for a whole corpus and for a person
    person_name  as it was: it is looked for in documents, and removed when all is destroyed
    destroyed    {kind: [digests]} of the weights and files that were deleted
    rows         {what: how many} of what was deleted from tables
    certificate  what was done, signed; empty until the end
    """

    corpus = models.ForeignKey(
        Corpus, on_delete=models.PROTECT, null=True, blank=True, related_name="forget_plans"
    )
    document = models.ForeignKey(
        Document, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    person_name = models.CharField(max_length=120, blank=True, default="", db_default="")
    digest = models.CharField(max_length=64, blank=True)
    reason = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    quarantined_at = models.DateTimeField(null=True)
    destroyed_at = models.DateTimeField(null=True)
    destroyed = models.JSONField(default=dict)
    rows = models.JSONField(default=dict, db_default={}, blank=True)
    certificate = models.TextField(blank=True)

    objects = TenantManager.from_queryset(ForgetPlanQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(certificate="") | Q(destroyed_at__isnull=False),
                name="forget_certificate_after_destruction",
            ),
            models.CheckConstraint(
                condition=Q(corpus__isnull=False, person=None)
                | Q(corpus=None, document=None, person__isnull=False),
                name="forget_a_corpus_or_a_person",
            ),
        ]

    def __str__(self) -> str:
        return str(_("Forget %(what)s") % {"what": self.what})

    @property
    def what(self) -> str:
        if self.person_id:
            return self.person_name or str(_("a person"))
        return str(self.document or _("all of %(corpus)s") % {"corpus": self.corpus})

    def get_absolute_url(self) -> str:
        return reverse("forgetting:plan", kwargs={"code": self.pk})


class MentionQuerySet(models.QuerySet["Mention"]):
    def visible_to(self, user: User) -> Self:
        """Those whose document stands in a corpus that they may curate."""
        return self.filter(document__corpus__in=Corpus.objects.curatable_by(user))


class Mention(TenantModel):
    """One document that may speak of the person of a plan; a curator says whether it goes."""

    class Why(models.TextChoices):
        SAID = "said", _("says the name or the address")
        BROUGHT = "brought", _("was uploaded by this person")

    class Verdict(models.TextChoices):
        OPEN = "open", _("undecided")
        FORGET = "forget", _("forget it")
        KEEP = "keep", _("keep it")

    plan = models.ForeignKey(ForgetPlan, on_delete=models.CASCADE, related_name="mentions")
    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="+")
    why = models.CharField(max_length=8, choices=Why)
    verdict = models.CharField(max_length=8, choices=Verdict, default=Verdict.OPEN)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )

    objects = TenantManager.from_queryset(MentionQuerySet)()

    class Meta:
        ordering = ["why", "document__path"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "plan", "document"], name="mention_once")
        ]

    def __str__(self) -> str:
        return f"{self.document_id}: {self.why}"
