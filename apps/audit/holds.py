"""Legal holds: they beat retention, deletion and forgetting. Knows no corpus and no chat."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from django.db import models, transaction
from django.db.models.functions import Now

from apps.audit.actions import record
from apps.audit.models import Hold
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User

Kind = Hold.Kind


def place(kind: str, subject: models.Model, *, by: User, reason: str, review_on: date) -> Hold:
    """Hold this until somebody lifts it; a second hold is the first. Raises "reason.missing"."""
    if not reason.strip():
        raise InputError("reason.missing")
    with transaction.atomic():
        hold: Hold
        hold, is_new = Hold.objects.get_or_create(
            kind=kind,
            subject=str(subject.pk),
            lifted_at=None,
            defaults={
                "subject_name": str(subject)[:200],
                "reason": reason.strip(),
                "placed_by": by,
                "review_on": review_on,
            },
        )
        if is_new:
            record("hold.place", hold, by=by, about=str(subject.pk), review=review_on.isoformat())
    return hold


def lift(hold: Hold, *, by: User) -> None:
    """End a hold; a second time changes nothing."""
    with transaction.atomic():
        if Hold.objects.filter(pk=hold.pk, lifted_at=None).update(lifted_at=Now()):
            record("hold.lift", hold, by=by, about=hold.subject)


def held(kind: str) -> models.QuerySet[Hold]:
    """Holds of this kind that stand now."""
    standing: models.QuerySet[Hold] = Hold.objects.filter(kind=kind, lifted_at=None)
    return standing


def require_free(kind: str, subject: object) -> None:
    """Raises InputError("hold.stands", name=, by=, until=) while this is held."""
    hold = held(kind).filter(subject=str(subject)).select_related("placed_by").first()
    if hold is not None:
        until = hold.review_on.isoformat()
        raise InputError("hold.stands", name=hold.subject_name, by=hold.placed_by.name, until=until)
