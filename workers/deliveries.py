"""Sends what waits to be told: mail to people, signed messages to webhooks. Each at least once.

The row is the truth: it is due until its sending has been written down, and a sender that dies in
between sends again. Nothing leaves the installation: webhooks reach only the hosts that the site
names (WEBHOOK_HOSTS), and no redirect is followed.
"""

from __future__ import annotations

import json
import smtplib
import time
from datetime import timedelta
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db.models import F
from django.db.models.functions import Now

from apps.runs.models import Delivery, Webhook
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InternalError
from counterpoint import outbound, sealedcolumns
from workers import task

log = structlog.get_logger(__name__)

TRIES = 8  # over about four hours
FIRST_PAUSE = timedelta(minutes=1)  # doubled with every try
TAKEN_FOR = timedelta(minutes=2)  # a sender that dies leaves its message to another after this
AT_ONCE = 50
SECONDS = 10.0


@task("housekeeping.deliver", queue="short")
def deliver() -> None:
    """Send what is due, tenant by tenant; a failure waits and is tried again."""
    for tenant in Tenant.objects.all():
        with structlog.contextvars.bound_contextvars(tenant=str(tenant.pk)):
            for delivery in take(tenant):
                send_one(tenant, delivery)


def take(tenant: Tenant) -> list[Delivery]:
    """Take due messages, so that nobody else sends them meanwhile."""
    with tenant_scope(tenant):
        due = Delivery.objects.filter(sent_at=None, due_at__lte=Now(), attempts__lt=TRIES)
        rows = list(due.select_for_update(skip_locked=True, of=("self",))[:AT_ONCE])
        taken = [row.pk for row in rows]
        Delivery.objects.filter(pk__in=taken).update(
            attempts=F("attempts") + 1, due_at=Now() + TAKEN_FOR
        )
        parts = ("notice__user", "notice__run", "webhook")
        return list(Delivery.objects.filter(pk__in=taken).select_related(*parts))


def send_one(tenant: Tenant, delivery: Delivery) -> None:
    """Send one message, and write down whether it went. No transaction is open while it goes."""
    try:
        if delivery.webhook is not None:
            post(delivery)
        else:
            mail(delivery)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        log.warning("delivery.failed", delivery=str(delivery.pk), error=type(error).__name__)
        pause = FIRST_PAUSE * 2 ** (delivery.attempts - 1)
        facts = {"error": f"{type(error).__name__}: {error}"[:300]}
        with tenant_scope(tenant):
            Delivery.objects.filter(pk=delivery.pk).update(due_at=Now() + pause, **facts)
        return
    with tenant_scope(tenant):
        Delivery.objects.filter(pk=delivery.pk).update(sent_at=Now(), error="")


def post(delivery: Delivery) -> None:
    """One signed message. Raises ValueError for a host that the site does not name.

    The same for a secret that does not open: both are told on the page, and tried again.
    """
    webhook = delivery.webhook
    assert webhook is not None
    if urlsplit(webhook.address).hostname not in settings.WEBHOOK_HOSTS:
        raise ValueError("this host is not among WEBHOOK_HOSTS")
    body = json.dumps(delivery.payload | {"delivery": str(delivery.pk)}, sort_keys=True).encode()
    with tenant_scope(str(webhook.tenant_id)):
        secret = opened_secret(webhook)
    at = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "Counterpoint-Signature": f"t={at},v1={outbound.signature(secret, at, body)}",
    }
    # The site has named this host, so that http may go there too.
    outbound.post(webhook.address, body, headers=headers, patience=SECONDS, may_be_plain=True)


def opened_secret(webhook: Webhook) -> str:
    try:
        return sealedcolumns.opened(webhook, "secret")
    except InternalError as error:
        raise ValueError(f"the secret of this webhook does not open ({error.code})") from error


def mail(delivery: Delivery) -> None:
    """One short letter: the line of the notice and where to look."""
    notice = delivery.notice
    assert notice is not None
    address = f"{settings.SITE_URL}{notice.run.get_absolute_url()}"
    send_mail(
        subject=notice.text[:150].replace("\n", " "),
        message=f"{notice.text}\n\n{address}\n",
        from_email=None,
        recipient_list=[notice.user.email],
    )
