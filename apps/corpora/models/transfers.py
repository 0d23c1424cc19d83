"""Files on their way, whole when their last byte came, and what a tenant may store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse

from apps.corpora.models.corpus import Corpus
from apps.corpora.models.uploads import Upload
from apps.tenants.models import TenantManager, TenantModel

if TYPE_CHECKING:
    from apps.accounts.models import User


class TransferQuerySet(models.QuerySet["Transfer"]):
    def visible_to(self, user: User) -> Self:
        """Only whoever began it, while they may still add to the corpus."""
        return self.filter(by=user, upload__corpus__in=Corpus.objects.curatable_by(user))


class Transfer(TenantModel):
    """One file on its way. The row says how many bytes are safe; it goes when the file is whole.

    position  bytes flushed to disk; a piece that begins there was broken off
    """

    upload = models.ForeignKey(Upload, on_delete=models.PROTECT, related_name="transfers")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    path = models.CharField(max_length=1000)
    length = models.BigIntegerField()
    position = models.BigIntegerField(default=0)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager.from_queryset(TransferQuerySet)()

    class Meta:
        ordering = ["created_at"]
        indexes = [
            models.Index(fields=["tenant", "upload"], name="transfer_by_upload"),
            models.Index(fields=["tenant", "expires_at"], name="transfer_by_expiry"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(position__gte=0, position__lte=F("length")),
                name="transfer_within_length",
            ),
        ]

    def __str__(self) -> str:
        return self.path

    def get_absolute_url(self) -> str:
        return reverse("corpora:transfer", kwargs={"code": self.pk})


class StorageUse(TenantModel):
    """How many bytes of originals a tenant keeps, and how many it may; None is the site's rule."""

    used = models.BigIntegerField(default=0)
    allowed = models.BigIntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant"], name="storage_use_once"),
            models.CheckConstraint(condition=Q(used__gte=0), name="storage_use_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.used} bytes"

    @property
    def limit(self) -> int | None:
        """Bytes this tenant may keep; None when nothing bounds it but the disk."""
        return self.allowed if self.allowed is not None else settings.TENANT_QUOTA_BYTES or None
