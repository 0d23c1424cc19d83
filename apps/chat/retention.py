"""Conversations that have lapsed under the tenant's rule: counted, deleted, and proof of both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models.functions import Now

from apps.audit import holds
from apps.audit.actions import is_proved_today, record
from apps.audit.models import AuditEvent, Hold
from apps.chat import drafts
from apps.chat.models import Conversation, Message
from apps.tenants.scope import current_tenant

AT_ONCE = 1000  # conversations in one transaction
TEMPORARY = timedelta(hours=1)  # after the last question of one that is not kept


@dataclass(frozen=True)
class Due:
    """What the rule would delete now, and what a hold keeps from it."""

    days: int
    count: int
    kept_by_holds: int
    last_run: AuditEvent | None


def due() -> Due:
    """The dry run: numbers alone, nothing is touched."""
    days = days_kept()
    old = lapsed(days)
    count = free(old).count() if days else 0
    every = old.count() if days else 0
    last = AuditEvent.objects.filter(action="retention.run").order_by("-sequence").first()
    return Due(days, count, every - count, last)


def run() -> int:
    """Delete what has lapsed in the tenant in scope; how many.

    Each run that deletes is a line in the log, and one a day that found nothing to delete.
    """
    days = days_kept()
    gone = Conversation.objects.filter(pk__in=free(temporary())[:AT_ONCE].values("pk"))
    gone.delete()
    drafts.lapsed().delete()
    if not days:
        return 0
    codes = list(free(lapsed(days)).values_list("pk", flat=True)[:AT_ONCE])
    Conversation.objects.filter(pk__in=codes).delete()
    if codes or not is_proved_today("retention.run"):
        record("retention.run", None, by=None, conversations=len(codes), days=days)
    return len(codes)


def days_kept() -> int:
    tenant = current_tenant()
    return int(tenant.settings.get("conversation_days", 0)) if tenant else 0


def temporary() -> Any:
    """Those that were never to be kept, and have been left."""
    return settled(TEMPORARY).filter(is_temporary=True)


def lapsed(days: int) -> Any:
    """Without a question for so many days, and with no answer under way."""
    return settled(timedelta(days=days))


def settled(age: timedelta) -> Any:
    active = Message.objects.active().values("conversation")
    old = Now() - models.Value(age)
    return Conversation.objects.filter(updated_at__lt=old).exclude(pk__in=active)


def free(rows: Any) -> Any:
    """Those whose owner's conversations are not held."""
    people = list(holds.held(Hold.Kind.PERSON).values_list("subject", flat=True))
    return rows.exclude(owner__in=people)
