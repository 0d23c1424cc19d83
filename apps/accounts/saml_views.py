"""The addresses of a tenant's SAML sign-in: on to the provider, back, in, out, and who we are.

A browser posts the answer across sites, without our session. So the answer is believed or refused
where it arrives, kept for a minute under a name that nobody guesses, and taken in by the next page,
which has the session and knows whether this browser asked.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from functools import wraps
from typing import Any

import structlog
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import complete_social_login
from allauth.socialaccount.models import SocialApp
from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts import adapters, saml, saml_logout
from apps.accounts.views import may_post_to, next_page
from apps.tenants.models import Tenant

log = structlog.get_logger(__name__)

ASKED = "saml-asked"  # in the session: questions that this browser took to a provider
AT_ONCE = 5  # tabs that may ask at the same time
KEPT = 60  # seconds between the answer and the page that takes it in


def in_words(view: Any) -> Any:
    """A refused answer leads back to the sign-in page, which says so; the log says why."""

    @wraps(view)
    def guarded(request: HttpRequest, tenant: str) -> HttpResponse:
        app = app_of(request, tenant)
        try:
            answer: HttpResponse = view(request, app)
        except saml.Refused as refused:
            log.warning("sso.refused", provider=app.provider_id, reason=str(refused)[:300])
            messages.error(request, adapters.failed())
            return redirect(settings.LOGIN_URL)
        return answer

    return guarded


def app_of(request: HttpRequest, tenant: str) -> Any:
    """The tenant's provider, or 404."""
    try:
        app = get_adapter().get_app(request, provider="saml", client_id=tenant)
    except SocialApp.DoesNotExist:
        raise Http404("No such sign-in.") from None
    if not Tenant.objects.filter(slug=tenant).exists():
        raise Http404("No such tenant.")
    return app


@require_safe
@never_cache
@in_words
def login(request: HttpRequest, app: Any) -> HttpResponse:
    """On to the tenant's provider, remembering what was asked."""
    asked, there = saml.question(app)
    before = list(request.session.get(ASKED, {}).items())[1 - AT_ONCE :]
    request.session[ASKED] = dict(before) | {asked: [app.client_id, next_page(request)]}
    return redirect(there)


@csrf_exempt
@require_POST
@never_cache
@in_words
def acs(request: HttpRequest, app: Any) -> HttpResponse:
    """The provider's answer, brought by the browser: believed, or refused."""
    said = saml.believed(app, request.POST.get("SAMLResponse", ""))
    name = secrets.token_urlsafe(32)
    cache.set(f"saml-said:{name}", {"tenant": app.client_id, **asdict(said)}, KEPT)
    return redirect(f"{reverse('saml_finish', args=[app.client_id])}?answer={name}")


@require_safe
@never_cache
@in_words
def finish(request: HttpRequest, app: Any) -> HttpResponse:
    """In, if this browser is the one that asked."""
    key = f"saml-said:{request.GET.get('answer', '')[:100]}"
    kept: dict[str, Any] = cache.get(key) or {}
    cache.delete(key)
    questions = request.session.get(ASKED, {})
    tenant, to = questions.pop(kept.get("asked", ""), ("", ""))
    request.session[ASKED] = questions
    if not kept or not kept.pop("tenant") == tenant == app.client_id:
        raise saml.Refused("this browser asked for no such answer")
    login = app.get_provider(request).sociallogin_from_response(request, saml.Said(**kept))
    login.state = {"process": "login", "next": to}
    answer: HttpResponse = complete_social_login(request, login)
    return answer


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@in_words
def logout(request: HttpRequest, app: Any) -> HttpResponse:
    """The provider ends the sessions that began with it, or answers that it ended its own."""
    told = request.POST if request.method == "POST" else request.GET
    if "SAMLResponse" in told:  # nothing hangs on it: who left here is out already
        return redirect(settings.LOGIN_URL)
    if request.method == "POST":
        subject, way = saml_logout.asked_by_form(app, told.get("SAMLRequest", ""))
    else:
        query = request.META.get("QUERY_STRING", "")
        subject, way = saml_logout.asked_by_address(app, told.dict(), query)
    ended = saml_logout.end_sessions(app, subject)
    log.info("sso.logout", provider=app.provider_id, sessions=ended)
    return taken(request, app, way)


def taken(request: HttpRequest, app: Any, way: saml_logout.Way) -> HttpResponse:
    """Let the browser take our message to the provider."""
    if not way.fields:
        return redirect(way.to)
    page = {"way": way, "name": app.name}
    answer = render(request, "accounts/saml_taken.html", page)
    return may_post_to(request, answer, way)


@require_safe
def metadata(request: HttpRequest, tenant: str) -> HttpResponse:
    """Who we are, for the provider's administrator."""
    return HttpResponse(saml.metadata(app_of(request, tenant)), content_type="application/xml")
