"""A plan to forget: what it is about, what was done so far, and the certificate at its end.

What a plan affects is computed from lineage whenever it is asked; only acts are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.corpora.models import Corpus, Document
from apps.tenants.models import TenantManager, TenantModel

if TYPE_CHECKING:
    from apps.accounts.models import User


class ForgetPlanQuerySet(models.QuerySet["ForgetPlan"]):
    def visible_to(self, user: User) -> Self:
        return self.filter(corpus__in=Corpus.objects.readable_by(user))


class ForgetPlan(TenantModel):
    """Forget one document of a corpus, or a whole corpus: exact retraining, never unlearning.

    digest       of the document's original; "" when the whole corpus is to be forgotten
    destroyed    {kind: [digests]} of the weights and files that were deleted
    certificate  what was done, signed; empty until the end
    """

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="forget_plans")
    document = models.ForeignKey(
        Document, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    digest = models.CharField(max_length=64, blank=True)
    reason = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    quarantined_at = models.DateTimeField(null=True)
    destroyed_at = models.DateTimeField(null=True)
    destroyed = models.JSONField(default=dict)
    certificate = models.TextField(blank=True)

    objects = TenantManager.from_queryset(ForgetPlanQuerySet)()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(certificate="") | models.Q(destroyed_at__isnull=False),
                name="forget_certificate_after_destruction",
            )
        ]

    def __str__(self) -> str:
        what = self.document or _("all of %(corpus)s") % {"corpus": self.corpus}
        return str(_("Forget %(what)s") % {"what": what})

    def get_absolute_url(self) -> str:
        return reverse("forgetting:plan", kwargs={"code": self.pk})
