"""Append-only lines, each sealed to the one before it. Knows not who may act."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from apps.tenants.models import TenantModel

FIRST = "0" * 64  # what the first line of a tenant follows


def sealed(text: str) -> str:
    """HMAC-SHA256 by the audit key, which lies outside the database."""
    return hmac.new(settings.AUDIT_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


class AuditEvent(TenantModel):
    """One act of one person, or of the system. The database refuses to change or remove it."""

    sequence = models.BigIntegerField()
    at = models.DateTimeField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    action = models.CharField(max_length=60)
    resource_type = models.CharField(max_length=60, blank=True)
    resource_id = models.CharField(max_length=64, blank=True)
    resource_name = models.CharField(max_length=200, blank=True)
    outcome = models.CharField(max_length=20)
    facts = models.JSONField(default=dict)
    previous = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    seal = models.CharField(max_length=64)

    class Meta:
        ordering = ["-sequence"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "sequence"], name="audit_sequence_once")
        ]
        indexes = [models.Index(fields=["tenant", "action", "at"], name="audit_by_action")]

    def __str__(self) -> str:
        return f"{self.sequence} {self.action} {self.resource_name}"

    def as_json(self) -> dict[str, Any]:
        """What is sealed and what is exported: every column but the chain itself."""
        return {
            "tenant": str(self.tenant_id),
            "sequence": self.sequence,
            "at": self.at.isoformat(timespec="microseconds"),
            "by": str(self.by_id) if self.by_id else None,
            "action": self.action,
            "resource_type": self.resource_type,
            "resource_id": self.resource_id,
            "resource_name": self.resource_name,
            "outcome": self.outcome,
            "facts": self.facts,
        }

    def digest_now(self) -> str:
        """SHA-256 of the line before and of this line's canonical JSON."""
        line = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{self.previous}|{line}".encode()).hexdigest()

    def seal_now(self) -> str:
        """HMAC of the digest, by a key outside the database: a rewritten chain betrays itself."""
        return sealed(self.digest)


class AuditHead(TenantModel):
    """Where a tenant's chain ends: without it, lines cut off at the end would leave no trace."""

    sequence = models.BigIntegerField()
    digest = models.CharField(max_length=64)
    seal = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="audit_head_once")]

    def __str__(self) -> str:
        return f"the chain ends at {self.sequence}"

    def seal_now(self) -> str:
        return sealed(f"head|{self.tenant_id}|{self.sequence}|{self.digest}")


class AuditSent(TenantModel):
    """How far a tenant's log has been sent to one collector."""

    sink = models.CharField(max_length=200)
    sequence = models.BigIntegerField(default=0)
    failed_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "sink"], name="audit_sent_once")]

    def __str__(self) -> str:
        return f"{self.sink} has {self.sequence} lines"


class Hold(TenantModel):
    """A legal hold: what it names is neither deleted, forgotten nor lapsed until it is lifted."""

    class Kind(models.TextChoices):
        CORPUS = "corpus", _("a corpus")
        PERSON = "person", _("a person's conversations")

    kind = models.CharField(max_length=10, choices=Kind)
    subject = models.CharField(max_length=64)
    subject_name = models.CharField(max_length=200)
    reason = models.TextField()
    placed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    placed_at = models.DateTimeField(db_default=Now())
    review_on = models.DateField()
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-placed_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "kind", "subject"],
                condition=models.Q(lifted_at=None),
                name="hold_once",
            )
        ]

    def __str__(self) -> str:
        return f"hold on {self.subject_name}"


class Approval(TenantModel):
    """A wish that needs a second person: asked by one, decided by another, then used once.

    subject   the id of what it is about
    facts     what is wished, where the id alone does not say it: the new rules of a tenant
    until     a granted wish is worth something until then
    """

    class Kind(models.TextChoices):
        PROMOTION = "promotion", _("make a model live")
        EXPORT = "export", _("take a model's weights out")
        BREAK_GLASS = "break_glass", _("read somebody's conversation")
        LIFT = "lift", _("lift a quarantine")
        POLICY = "policy", _("change the rules of the organisation")
        TENANT_EXPORT = "tenant_out", _("take everything of the organisation out")
        TENANT_END = "tenant_end", _("delete the organisation for ever")

    kind = models.CharField(max_length=12, choices=Kind)
    subject = models.CharField(max_length=64)
    subject_name = models.CharField(max_length=200)
    reason = models.TextField()
    facts = models.JSONField(default=dict)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    asked_at = models.DateTimeField(db_default=Now())
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True)
    granted = models.BooleanField(null=True)
    until = models.DateTimeField(null=True)
    spent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-asked_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(decided_by=None) | ~models.Q(decided_by=models.F("asked_by")),
                name="approval_by_a_second_person",
            ),
            models.CheckConstraint(
                condition=models.Q(granted=None, decided_by=None, decided_at=None)
                | models.Q(
                    granted__isnull=False, decided_by__isnull=False, decided_at__isnull=False
                ),
                name="approval_decided_as_a_whole",
            ),
            models.UniqueConstraint(
                fields=["tenant", "kind", "subject", "asked_by"],
                condition=models.Q(granted=None),
                name="approval_asked_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject_name}"
