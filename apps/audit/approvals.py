"""Four eyes: one person asks with a reason, another decides, and what was granted is used once.

Knows what kinds of wishes there are, but not what they are about: whoever carries one out calls
`spend` in the same transaction. Which kinds a tenant wants is among its rules.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.audit.actions import record
from apps.audit.models import Approval
from apps.tenants.models import Tenant
from apps.tenants.scope import current_tenant
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User

Kind = Approval.Kind
WORTH = {Kind.BREAK_GLASS: timedelta(hours=1)}  # after that it must be asked again
USUALLY = timedelta(days=7)


def wants_two(kind: str, tenant: Tenant | None = None) -> bool:
    """Whether this tenant asks for a second person here; reading others' words always does."""
    if kind == Kind.BREAK_GLASS:
        return True
    asked = (tenant or current_tenant() or Tenant()).settings.get("four_eyes", [])
    return kind in asked


def ask(kind: str, subject: models.Model, *, by: User, reason: str, **facts: object) -> Approval:
    """Write down a wish; the same wish twice is one. Raises InputError("reason.missing")."""
    if not reason.strip():
        raise InputError("reason.missing")
    with transaction.atomic():
        wish: Approval
        wish, is_new = Approval.objects.get_or_create(
            kind=kind,
            subject=str(subject.pk),
            asked_by=by,
            granted=None,
            defaults={
                "subject_name": str(subject)[:200],
                "reason": reason.strip(),
                "facts": facts,
            },
        )
        if is_new:
            record("approval.ask", wish, by=by, reason=reason.strip(), about=str(subject.pk))
    return wish


def decide(wish: Approval, verdict: str, *, by: User) -> Approval:
    """Grant or refuse ("grant", "refuse"), once, by somebody else than whoever asked.

    Raises InputError: "approval.own", "approval.decided".
    """
    if wish.asked_by_id == by.pk:
        raise InputError("approval.own")
    is_granted = verdict == "grant"
    worth = timezone.now() + WORTH.get(Kind(wish.kind), USUALLY) if is_granted else None
    with transaction.atomic():
        open_one: Any = Approval.objects.filter(pk=wish.pk, granted=None)
        moved = open_one.update(granted=is_granted, decided_by=by, decided_at=Now(), until=worth)
        if not moved:
            raise InputError("approval.decided")
        wish.refresh_from_db()
        action = "approval.grant" if is_granted else "approval.refuse"
        record(action, wish, by=by, about=wish.subject, asked_by=str(wish.asked_by_id))
    return wish


def standing(kind: str, subject: models.Model | str, *, by: User) -> Approval | None:
    """The granted wish of this person about this, if it is still worth something."""
    code = str(getattr(subject, "pk", subject))
    found: Approval | None = Approval.objects.filter(
        kind=kind, subject=code, asked_by=by, granted=True, spent_at=None, until__gt=Now()
    ).first()
    return found


def spend(kind: str, subject: models.Model, *, by: User) -> Approval | None:
    """Use up the approval that this act needs; None where one person is enough.

    Called inside the act's transaction. Raises InputError("approval.needed").
    """
    if not wants_two(kind):
        return None
    wish = standing(kind, subject, by=by)
    if wish is None or not Approval.objects.filter(pk=wish.pk, spent_at=None).update(
        spent_at=Now()
    ):
        raise InputError("approval.needed", name=str(subject))
    return wish
