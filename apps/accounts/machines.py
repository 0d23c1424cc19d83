"""Keys for programs: one's own, and those of service accounts that one answers for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.actions import issue_key, open_service, revoke_key
from apps.accounts.forms import KeyForm
from apps.accounts.models import ApiKey, User
from apps.tenants.access import MemberRequest, member
from apps.tenants.models import Role
from apps.tenants.typed import typed
from calm_engine.errors import InputError
from counterpoint.wording import sentence


@require_http_methods(["GET", "POST"])
@never_cache
@member()
def keys(request: MemberRequest) -> HttpResponse:
    """The keys of whoever asks; a new one is shown once, on this answer and never again."""
    return page_of_keys(request, request.user)


@require_http_methods(["GET", "POST"])
@never_cache
@member(role=Role.CURATOR)
def service_key(request: MemberRequest, code: UUID) -> HttpResponse:
    """The keys of a service account that one answers for."""
    service = User.objects.filter(
        pk=code, answers=request.user, memberships__tenant=request.tenant
    ).first()
    if service is None:
        raise Http404("No such service account.")
    return page_of_keys(request, service)


def page_of_keys(request: MemberRequest, owner: User) -> HttpResponse:
    form = KeyForm(request.POST or None)
    secret = ""
    if request.method == "POST" and form.is_valid():
        told = form.cleaned_data
        _key, secret = issue_key(
            owner,
            request.tenant,
            told["name"],
            days=told["days"],
            scopes=told["scopes"],
            only_models=told["only_models"],
            by=request.user,
        )
        form = KeyForm()
    mine = ApiKey.objects.filter(user=owner, tenant=request.tenant)
    page: dict[str, Any] = {"form": form, "keys": mine, "secret": secret, "now": timezone.now()}
    page |= {"site_url": settings.SITE_URL, "service": owner if owner.is_service else None}
    return render(request, "accounts/keys.html", page)


@require_POST
@member()
def revoke(request: MemberRequest, code: UUID) -> HttpResponse:
    """End one of one's own keys, or of a service account that one answers for."""
    key = ApiKey.objects.filter(pk=code, tenant=request.tenant).select_related("user").first()
    if key is None or request.user.pk not in (key.user_id, key.user.answers_id):
        raise Http404("No such key.")
    revoke_key(key, by=request.user)
    messages.success(request, _("The key “%(name)s” no longer works.") % {"name": key.name})
    if key.user.is_service:
        return redirect("accounts:service_key", key.user_id)
    return redirect("accounts:keys")


@require_http_methods(["GET", "POST"])
@member(role=Role.CURATOR)
def services(request: MemberRequest) -> HttpResponse:
    """Service accounts of this tenant, and a form for a new one."""
    if request.method == "POST":
        try:
            made = open_service(request.tenant, typed(request, "name"), by=request.user)
        except InputError as error:
            messages.error(request, sentence(error))
        else:
            messages.success(request, _("%(name)s may read what it is granted.") % {"name": made})
        return redirect("accounts:services")
    rows = User.objects.filter(memberships__tenant=request.tenant).exclude(answers=None)
    return render(request, "accounts/services.html", {"services": rows.select_related("answers")})
