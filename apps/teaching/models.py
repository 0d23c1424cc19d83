"""A plan: which snapshot is taught to which anchor. Its runs carry its id; state is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.conf import settings as site
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse

from apps.corpora.models import Corpus, Snapshot
from apps.registry.models import Anchor, Augmenter
from apps.tenants.models import TenantManager, TenantModel

if TYPE_CHECKING:
    from apps.accounts.models import User


class PlanQuerySet(models.QuerySet["Plan"]):
    """Plans, seen by whoever may read every corpus that is taught."""

    def visible_to(self, user: User) -> Self:
        return self.filter(snapshot__in=Snapshot.objects.visible_to(user))


class Plan(TenantModel):
    """Teach this snapshot to this anchor: augment, compose, the control, evaluate.

    base      the open model that the augmenter goes on from
    earlier   the augmenter that it brings up to date or, where `forget` names documents, the one
              that is trained once more without them
    forget    digests of originals
    """

    name = models.CharField(max_length=120)
    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="plans")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="plans")
    anchor = models.ForeignKey(Anchor, on_delete=models.PROTECT, related_name="plans")
    settings = models.JSONField(default=dict)  # {"augment": {...}, "compose": {...}}
    base = models.ForeignKey(
        Anchor, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    earlier = models.ForeignKey(
        Augmenter, on_delete=models.PROTECT, null=True, blank=True, related_name="plans"
    )
    forget = models.JSONField(default=list, db_default=[], blank=True)
    by = models.ForeignKey(site.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(PlanQuerySet)()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("teaching:plan", kwargs={"code": self.pk})
