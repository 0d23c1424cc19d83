"""What allauth asks of us: who may come in from a provider, and what a sign-in leaves in the log.

A provider's person is bound by (issuer, subject), never by an address: an address is taken as a
link once, from a verified claim, and only to an account that the same organisation's directory
made, that belongs to no other, and that nobody signs in to with a password (ASVS 5, 6.8.1).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from requests import PreparedRequest, Response, Session

from apps.accounts import sessions
from apps.accounts.actions import told_in_each_tenant
from apps.accounts.models import User
from apps.accounts.sso import join_groups, join_tenant
from apps.audit import actions as audit
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_scope
from apps.tenants.ways import came_by_own_provider, is_emergency_account
from counterpoint import outbound
from counterpoint.keys import site_keys

log = structlog.get_logger(__name__)

SEALED_ABOUT = b"second-factor"
# Changes of how somebody signs in, by the name of allauth's mail about them.
NOTICES = {
    "totp_activated": "factor.app.create",
    "totp_deactivated": "factor.app.remove",
    "password_changed": "password.change",
    "recovery_codes_generated": "factor.codes.create",
    "webauthn_added": "factor.passkey.create",
    "webauthn_removed": "factor.passkey.remove",
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth is untyped
    """Nobody signs up by themselves; every sign-in is a line in the log of each tenant."""

    def is_open_for_signup(self, _request: HttpRequest) -> bool:
        return False

    def add_message(self, request: HttpRequest, level: int, *args: Any, **named: Any) -> None:
        """Say what failed; that somebody is in, they see."""
        if level >= messages.WARNING:
            super().add_message(request, level, *args, **named)

    def post_login(self, request: HttpRequest, user: User, **named: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **named)
        sessions.begin(request)
        told_in_each_tenant("sign_in", user)
        tell_emergency(request, user)
        return response

    def set_password(self, user: User, password: str) -> None:
        """Whoever chose it themselves may go on with it."""
        user.must_change_password = False
        super().set_password(user, password)

    def get_password_change_redirect_url(self, _request: HttpRequest) -> str:
        return reverse("mfa_index")

    def send_mail(self, *_args: Any, **_named: Any) -> None:
        """No mail leaves: addresses are the directory's to verify, not ours."""

    def send_notification_mail(self, template: str, user: User, *_args: Any, **_named: Any) -> None:
        """What allauth would write a mail about is a line in the log of each tenant."""
        if action := NOTICES.get(template.rpartition("/")[2]):
            told_in_each_tenant(action, user)


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth is untyped
    """People of the organisation's own sign-in."""

    def is_open_for_signup(self, _request: HttpRequest, sociallogin: Any) -> bool:
        """Whether somebody new may come in: with a verified address, where the site says so."""
        return bool(home_of(sociallogin) and verified_address(sociallogin))

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Find the account that the directory made beforehand, or refuse in words."""
        if sociallogin.is_existing:
            remember_groups(sociallogin, sociallogin.user)
            return
        address = verified_address(sociallogin)
        known = User.objects.filter(email=address).first() if address else None
        if known is not None and may_be_met(known, home_of(sociallogin)):
            sociallogin.connect(request, known)
            remember_groups(sociallogin, known)
        elif known is not None or not self.is_open_for_signup(request, sociallogin):
            said = _("Your organisation's sign-in knows you, and this site does not yet. ")
            messages.error(request, said + _("Ask a curator to add you."))
            raise ImmediateHttpResponse(redirect(settings.LOGIN_URL))

    def on_authentication_error(
        self,
        request: HttpRequest,
        _provider: Any,
        error: str | None = None,
        exception: Exception | None = None,
        **_named: Any,
    ) -> None:
        """Back to the sign-in page, which says so; the log says why, without a token."""
        log.warning(
            "sso.failed",
            error=str(error or ""),
            fault=type(exception).__name__,
            reason=str(exception)[:300],
        )
        messages.error(request, failed())
        raise ImmediateHttpResponse(redirect(settings.LOGIN_URL))

    def get_requests_session(self) -> Session:
        """Asks the provider and whoever it names, but nothing that a server is never sent to."""
        return GuardedSession()

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> User:
        """A new person of the site's tenant, without a password and with no right to any corpus."""
        del form
        user: User = sociallogin.user
        told = claims_of(sociallogin)
        user.email = verified_address(sociallogin)
        user.name = str(told.get("name") or user.email.partition("@")[0])[:120]
        user.set_unusable_password()
        sociallogin.save(request)
        join_tenant(user, home_of(sociallogin))
        remember_groups(sociallogin, user)
        return user

    def populate_user(self, _request: HttpRequest, sociallogin: Any, data: dict[str, Any]) -> User:
        user: User = sociallogin.user
        user.email = str(data.get("email") or "").lower()
        return user


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth is untyped
    """Secrets of second factors lie in the database under the site key alone."""

    def encrypt(self, text: str) -> str:
        key_id, wrapped = site_keys().wrap(text.encode(), SEALED_ABOUT)
        return f"{key_id}|{wrapped.hex()}"

    def decrypt(self, encrypted_text: str) -> str:
        key_id, _bar, wrapped = encrypted_text.partition("|")
        return site_keys().unwrap(key_id, bytes.fromhex(wrapped), SEALED_ABOUT).decode()


def tell_emergency(request: HttpRequest, user: User) -> None:
    """A line of its own where this is an emergency account, and came past the tenant's provider."""
    for membership in Membership.objects.filter(user=user).select_related("tenant"):
        tenant = membership.tenant
        if is_emergency_account(user, tenant) and not came_by_own_provider(request, tenant):
            with tenant_scope(tenant):
                audit.record("emergency.sign_in", user, by=user)


def failed() -> str:
    return _("Your organisation's sign-in did not answer as it should. Try again in a minute.")


class GuardedSession(Session):
    """No redirects, no proxy of the environment, no address where clouds keep credentials."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.max_redirects = 0

    def send(self, request: PreparedRequest, **named: Any) -> Response:
        parts = urlsplit(request.url or "")
        found = outbound.resolved(parts.hostname or "", parts.port or 443)
        if parts.scheme != "https" and not found.is_loopback:
            raise outbound.Refused("the provider would be asked in the clear")
        return super().send(request, **named | {"timeout": outbound.PATIENCE})


def claims_of(sociallogin: Any) -> dict[str, Any]:
    """What the provider says of the person: signed claims, then what it answers when asked."""
    extra = sociallogin.account.extra_data
    return {**extra, **(extra.get("userinfo") or {}), **(extra.get("id_token") or {})}


def verified_address(sociallogin: Any) -> str:
    """The address that the provider has verified, in small letters; "" when it has not.

    Plain ASCII alone: other letters have twins, and some become ASCII when they are made small.
    """
    told = claims_of(sociallogin)
    address = str(told.get("email") or sociallogin.user.email or "").strip()
    if told.get("email_verified") is True and address.isascii():
        return address.lower()
    return ""


def home_of(sociallogin: Any) -> str:
    """The tenant for which the provider speaks; "" for one that speaks for the whole site."""
    app = sociallogin.provider.app
    return str(app.client_id if app.provider == "saml" else settings.SSO_TENANT)


def may_be_met(known: User, home: str) -> bool:
    """Whether a provider of this tenant may sign this account in by its address alone, once.

    A tenant's provider never reaches into another: whoever belongs elsewhere too is not its own.
    """
    if known.has_usable_password() or not known.is_active:
        return False
    return not home or set(known.memberships.values_list("tenant__slug", flat=True)) == {home}


def remember_groups(sociallogin: Any, user: User) -> None:
    """Carry the provider's groups over to those of its tenant."""
    names, home = claims_of(sociallogin).get("groups"), home_of(sociallogin)
    if isinstance(names, list) and home:
        join_groups(user, home, [name for name in names if isinstance(name, str)])
