"""Append-only lines, each sealed to the one before it. Knows not who may act."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from django.conf import settings
from django.db import models

from apps.tenants.models import TenantModel

FIRST = "0" * 64  # what the first line of a tenant follows


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
        key = settings.AUDIT_KEY.encode()
        return hmac.new(key, self.digest.encode(), hashlib.sha256).hexdigest()
