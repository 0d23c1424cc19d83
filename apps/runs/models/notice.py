"""Who is told of what: notices on the page, webhooks, and what is still to be sent.

A notice quotes no document, so it is addressed to a person; what it leads to is checked when it is
opened.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.runs.models.run import Run
from apps.tenants.models import TenantManager, TenantModel


class Notice(TenantModel):
    """One line to one person: a run is done, has failed, or its result waits for approval."""

    class Kind(models.TextChoices):
        FINISHED = "finished", "Finished"
        FAILED = "failed", "Failed"
        APPROVAL = "approval", "Waiting for approval"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=10, choices=Kind)
    text = models.CharField(max_length=500)
    at = models.DateTimeField(db_default=Now())
    read_at = models.DateTimeField(null=True, blank=True)

    objects: TenantManager[Notice] = TenantManager()

    class Meta:
        ordering = ["-at"]
        constraints = [
            # An attempt that is recorded twice tells once; run again, it tells again.
            models.UniqueConstraint(
                fields=["tenant", "user", "run", "kind"],
                condition=Q(read_at=None),
                name="notice_once_unread",
            ),
        ]

    def __str__(self) -> str:
        return self.text


class Webhook(TenantModel):
    """An address inside the installation that hears of runs; each message is signed.

    secret   sealed: `counterpoint.sealedcolumns`
    """

    address = models.URLField(max_length=300)
    secret = models.CharField(max_length=300)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects: TenantManager[Webhook] = TenantManager()

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "address"], name="webhook_once"),
        ]

    def __str__(self) -> str:
        return self.address


class Delivery(TenantModel):
    """One message on its way out: by mail to a person, or to a webhook. Sent at least once."""

    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, null=True, related_name="+")
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, null=True, related_name="+")
    payload = models.JSONField(default=dict)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)

    objects: TenantManager[Delivery] = TenantManager()

    class Meta:
        ordering = ["due_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(notice__isnull=False, webhook=None)
                | Q(notice=None, webhook__isnull=False),
                name="delivery_goes_one_way",
            ),
        ]

    def __str__(self) -> str:
        return f"to {self.webhook or self.notice}"
