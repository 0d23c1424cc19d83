"""Telling people: a notice on the page, mail, and signed webhooks. Written with the act itself.

What is told is the run's name and how it ended, never a document. Sending is `deliver`'s, later and
as often as it takes: the act does not wait for a mail server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from apps.runs.models import Delivery, Notice, Run, Webhook

if TYPE_CHECKING:
    from apps.accounts.models import User

FINISHED, FAILED, APPROVAL = Notice.Kind.FINISHED, Notice.Kind.FAILED, Notice.Kind.APPROVAL


def tell(run: Run, kind: Notice.Kind, text: str, *, to: list[User] | None = None) -> None:
    """Write the notices of one event, and what must be sent; in the caller's transaction.

    to   whom; by default whoever started the run
    """
    people = to if to is not None else [run.created_by] if run.created_by else []
    for person in people:
        notice, is_new = Notice.objects.get_or_create(
            user=person, run=run, kind=kind, read_at=None, defaults={"text": text[:500]}
        )
        if is_new and settings.EMAIL_HOST:
            Delivery.objects.create(notice=notice)
    for webhook in Webhook.objects.all():
        Delivery.objects.create(webhook=webhook, payload=payload_of(run, kind))


def payload_of(run: Run, kind: Notice.Kind) -> dict[str, str]:
    """What a webhook is told: ids and words of ours, no name that a person chose, no text."""
    return {
        "event": f"run.{kind}",
        "run": str(run.pk),
        "kind": run.kind,
        "state": run.state,
        "failure": run.failure_code,
        "address": f"{settings.SITE_URL}{run.get_absolute_url()}",
    }
