"""Signing in and out, and the people of a tenant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from allauth.account import views as account
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn import views as webauthn
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from csp.decorators import csp_update
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts import adapters, oidc, saml_logout, sessions
from apps.accounts.actions import invite, remove, renew_password, told_in_each_tenant
from apps.accounts.forms import InviteForm, SignInForm
from apps.accounts.models import User
from apps.tenants.access import MemberRequest, member, to_sign_in
from apps.tenants.models import Membership, Role
from apps.tenants.typed import sought
from apps.tenants.ways import own_providers
from calm_engine.errors import InputError
from counterpoint.counting import counted, said
from counterpoint.keyset import NEWEST, Order, page_of
from counterpoint.wording import sentence

log = structlog.get_logger(__name__)

A_PAGE = 50  # people
LEAVING = "leaving"  # in the session: where one signs out of the provider as well


@require_http_methods(["GET", "POST"])
@never_cache
@sensitive_post_parameters("password")
# A refused attempt must be counted, also when the answer is an error: no transaction around it.
@transaction.non_atomic_requests
def sign_in(request: HttpRequest) -> HttpResponse:
    """The sign-in page; whoever is signed in already goes home."""
    if request.user.is_authenticated:
        return redirect(settings.LOGIN_REDIRECT_URL)
    form = SignInForm(request, data=request.POST or None)
    if request.method == "POST" and form.is_valid():
        # Asks for the second factor where there is one; the log's line comes when they are in.
        user = form.get_user()
        attempt = Login(user=user, redirect_url=next_page(request))
        answer: HttpResponse = perform_password_login(request, {"email": user.email}, attempt)
        return answer
    if request.method == "POST":
        log.warning("sign_in.refused")  # without the address: whose it is stays in the database
    page = {"form": form, "next": request.GET.get("next", ""), "providers": providers()}
    left = request.session.pop(LEAVING, None)
    if left is None:
        return render(request, "accounts/sign_in.html", page)
    way = saml_logout.Way(left["to"], left["fields"])
    page |= {"leaving": left["name"], "way": way}
    return may_post_to(request, render(request, "accounts/sign_in.html", page), way)


def may_post_to(request: HttpRequest, answer: HttpResponse, way: saml_logout.Way) -> HttpResponse:
    """Let the forms of this one page lead to the provider as well, where its way is a form."""
    if not way.fields:
        return answer
    policy = {"form-action": [saml_logout.origin(way)]}
    wider: HttpResponse = csp_update(policy)(lambda _request: answer)(request)  # type: ignore[assignment]  # the same answer
    return wider


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session; a second time does no harm."""
    user = request.user
    there = None
    if isinstance(user, User):
        there = saml_logout.leaving(user, get_authentication_records(request, user))
    logout(request)
    if isinstance(user, User):
        told_in_each_tenant("sign_out", user)
    answer = redirect(settings.LOGIN_URL)
    # The next person at this screen finds no page that was read, and nothing that was begun.
    answer["Clear-Site-Data"] = '"cache", "storage"'
    if there is not None:
        # On the next page: a form's answer may not lead to another host under our CSP.
        name, way = there
        request.session[LEAVING] = {"name": name, "to": way.to, "fields": way.fields}
    return answer


def locked_out(request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """The page of django-axes: too many wrong passwords for this address from this place."""
    log.warning("sign_in.locked")
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
    return render(request, "accounts/locked_out.html", {"minutes": minutes}, status=429)


@require_http_methods(["GET", "POST"])
@member(role=Role.CURATOR)
def people(request: MemberRequest) -> HttpResponse:
    """Who belongs to this tenant, and a form to add somebody."""
    form = InviteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        told = form.cleaned_data
        try:
            person = invite(
                request.tenant,
                told["email"],
                told["name"],
                Role(told["role"]),
                told["password"],
                by=request.user,
            )
        except InputError as error:
            form.add_error("password", error.message)
        else:
            told = {"name": person.name, "tenant": request.tenant.name}
            messages.success(request, _("%(name)s belongs to %(tenant)s now.") % told)
            return redirect("accounts:people")
    wanted = sought(request)
    rows = request.tenant.memberships.filter(user__answers=None).select_related("user")
    named = rows.filter(Q(user__name__icontains=wanted) | Q(user__email__icontains=wanted))
    by_name = Order("name", _("name"), ("user__name", "user__email"))
    shown = page_of(named, request.GET, by_name, NEWEST, size=A_PAGE)
    page = {"form": form, "page": shown, "wanted": wanted, "count": said(*counted(named))}
    return render(request, "accounts/people.html", page)


@require_POST
@member(role=Role.CURATOR)
def remove_person(request: MemberRequest, code: UUID) -> HttpResponse:
    """Take somebody else out of this tenant; nobody removes themselves by mistake."""
    theirs = member_of(request, code)
    if theirs.user == request.user:
        messages.error(request, _("You cannot remove yourself. Ask another curator."))
        return redirect("accounts:people")
    remove(request.tenant, theirs.user, by=request.user)
    told = {"name": theirs.user.name, "tenant": request.tenant.name}
    messages.success(request, _("%(name)s no longer belongs to %(tenant)s.") % told)
    return redirect("accounts:people")


@require_POST
@member(role=Role.CURATOR)
def sign_out_person(request: MemberRequest, code: UUID) -> HttpResponse:
    """End every session of somebody of this tenant; what they may do stays theirs."""
    theirs = member_of(request, code)
    count = sessions.end_all(theirs.user, by=request.user)
    words = ngettext(
        "%(name)s is signed out everywhere: %(count)d session ended.",
        "%(name)s is signed out everywhere: %(count)d sessions ended.",
        count,
    )
    messages.success(request, words % {"name": theirs.user.name, "count": count})
    return redirect("accounts:people")


@require_POST
@never_cache
@member(role=Role.CURATOR)
def new_password(request: MemberRequest, code: UUID) -> HttpResponse:
    """A password for somebody who forgot theirs: shown once, and good for choosing another."""
    theirs = member_of(request, code)
    if theirs.user == request.user:
        return redirect("account_change_password")
    try:
        drawn = renew_password(request.tenant, theirs.user, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect("accounts:people")
    page = {"person": theirs.user, "drawn": drawn}
    return render(request, "accounts/new_password.html", page)


def member_of(request: MemberRequest, code: UUID) -> Membership:
    """A membership of this tenant, or 404."""
    found = Membership.objects.of(request.tenant).select_related("user").filter(pk=code).first()
    if found is None:
        raise Http404("No such person.")
    return found


@require_http_methods(["GET", "POST"])
@never_cache
def change_password(request: HttpRequest) -> HttpResponse:
    """One's own password, by whoever knows the present one; it ends every other session."""
    user = request.user
    if isinstance(user, User) and not user.has_usable_password():
        messages.info(request, _("You sign in without a password: there is none to change."))
        return redirect("mfa_index")
    answer: HttpResponse = account.password_change(request)
    return answer


@require_POST
@member()
def switch(request: MemberRequest, code: UUID) -> HttpResponse:
    """Act in another of one's own tenants from now on."""
    if not Membership.objects.filter(tenant_id=code, user=request.user).exists():
        raise Http404("No such organisation.")
    request.session["tenant"] = str(code)
    return redirect(settings.LOGIN_REDIRECT_URL)


@require_safe
@never_cache
@transaction.non_atomic_requests
def provider_login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """On to the organisation's own sign-in."""
    return asked_of_provider(oidc.login, request, provider_id)


@require_safe
@never_cache
@transaction.non_atomic_requests
def provider_callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Back from there, with somebody or with a refusal."""
    return asked_of_provider(oidc.callback, request, provider_id)


@require_safe
@never_cache
def by_provider(request: HttpRequest) -> HttpResponse:
    """What to do where the organisation's own provider is the only way in."""
    tenant = getattr(request, "tenant", None)
    if tenant is None:
        return to_sign_in(request)  # type: ignore[no-any-return]  # it is one
    codes = {str(app["provider_id"]) for app in own_providers(tenant)}
    return render(request, "accounts/by_provider.html", {"providers": providers(codes)})


def edit_passkey(request: HttpRequest, pk: int) -> HttpResponse:
    """Rename a passkey of one's own."""
    return of_own_passkey(webauthn.edit_webauthn, request, pk)


def remove_passkey(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove a passkey of one's own."""
    return of_own_passkey(webauthn.remove_webauthn, request, pk)


def of_own_passkey(view: Any, request: HttpRequest, pk: int) -> HttpResponse:
    """Somebody else's is not there: told before anybody is asked to show who they are."""
    mine = Authenticator.objects.filter(pk=pk, type=Authenticator.Type.WEBAUTHN)
    if request.user.is_authenticated and not mine.filter(user=request.user).exists():
        raise Http404("No such passkey.")
    answer: HttpResponse = view(request, pk=pk)
    return answer


def asked_of_provider(view: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    """A provider that is away is told in words: nobody can sign in by it, and others still can."""
    try:
        answer: HttpResponse = view(request, provider_id)
    except SocialApp.DoesNotExist:
        raise Http404("No such sign-in.") from None
    except (OSError, OAuth2Error) as error:  # of requests too
        log.warning("sso.away", error=type(error).__name__)
        messages.error(request, adapters.failed())
        return redirect(settings.LOGIN_URL)
    return answer


def providers(codes: set[str] | None = None) -> list[tuple[str, str]]:
    """The organisations' own sign-ins: address and name; of these providers alone, if any."""
    known = [("openid_connect_login", "provider_id", app) for app in settings.OIDC_APPS]
    known += [("saml_login", "client_id", app) for app in settings.SAML_APPS]
    return [
        (reverse(view, args=[app[which]]), app["name"])
        for view, which, app in known
        if codes is None or app["provider_id"] in codes
    ]


def next_page(request: HttpRequest) -> str:
    """Where the person wanted to go, if it is a page of ours."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if wanted and ours else resolve_url(settings.LOGIN_REDIRECT_URL)
