"""The page of webhooks: addresses of this installation that hear of runs. Sending is a worker's."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from apps.audit.actions import record
from apps.runs.models import Delivery, Webhook
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from counterpoint import sealedcolumns


class WebhookForm(forms.Form):
    """An address whose host the site has named: nothing else is ever reached."""

    address = forms.URLField(label=gettext_lazy("Address"), max_length=300, assume_scheme="https")

    def clean_address(self) -> str:
        address: str = self.cleaned_data["address"]
        if urlsplit(address).hostname not in settings.WEBHOOK_HOSTS:
            named = ", ".join(settings.WEBHOOK_HOSTS) or _("none")
            raise forms.ValidationError(
                _("Webhooks may reach only hosts that the site names (WEBHOOK_HOSTS): %(named)s."),
                params={"named": named},
            )
        return address


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def webhooks(request: MemberRequest) -> HttpResponse:
    """List them, and add one; its secret is shown once."""
    form = WebhookForm(request.POST or None)
    secret = ""
    if request.method == "POST" and form.is_valid():
        secret = _added(request, form)
    facts: dict[str, Any] = {
        "form": form if not secret else WebhookForm(),
        "secret": secret,
        "webhooks": Webhook.objects.all(),
        "failing": Delivery.objects.filter(sent_at=None, webhook__isnull=False).exclude(error="")[
            :9
        ],
    }
    return render(request, "runs/webhooks.html", facts)


def _added(request: MemberRequest, form: WebhookForm) -> str:
    secret = secrets.token_urlsafe(32)
    try:
        with transaction.atomic():
            row = Webhook(address=form.cleaned_data["address"], by=request.user)
            row.secret = sealedcolumns.sealed(secret, row, "secret")
            row.save()
            record("webhook.add", row, by=request.user)
    except IntegrityError:
        form.add_error("address", _("This address is told already."))
        return ""
    return secret


@require_POST
@member(Role.CURATOR)
def remove_webhook(request: MemberRequest, code: UUID) -> HttpResponse:
    """Tell this address no more."""
    row = fetch(request, Webhook, code)
    record("webhook.remove", row, by=request.user)
    row.delete()
    messages.success(request, _("It is told no more."))
    return redirect("runs:webhooks")
