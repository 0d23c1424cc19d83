"""Single logout of SAML 2.0 (profile 4.4), by redirects that both sides sign.

A provider may end the sessions that began with it, and no others: one of another tenant's, or one
by password, goes on. Whoever signs out here is offered to sign out there. Knows no page.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from urllib.parse import urlencode, urlsplit

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY as METHODS
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.conf import settings
from lxml import etree
from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.logout_request import OneLogin_Saml2_Logout_Request
from onelogin.saml2.logout_response import OneLogin_Saml2_Logout_Response

from apps.accounts import saml
from apps.accounts.actions import told_in_each_tenant
from apps.accounts.models import User

TOO_LONG = 8_000  # characters of a question in an address


def asked_to_leave(app: Any, told: Mapping[str, str], query: str) -> tuple[str, str]:
    """Whose sessions the provider ends, and where the browser takes our answer.

    told   the fields of the question; `query` as it came, since that is what is signed
    Raises saml.Refused for what is not the provider's, not signed, not for us, old, or was taken.
    """
    if not app.settings["slo_url"]:
        raise saml.Refused("this provider has no single logout here")
    sent = told.get("SAMLRequest", "")
    if not sent or len(sent) > TOO_LONG or not told.get("Signature"):
        raise saml.Refused("the question is missing, too long or not signed")
    ours = saml.address("logout", app.client_id)
    here = {**saml.place(ours), "get_data": dict(told)}
    here |= {"query_string": query, "validate_signature_from_qs": True}
    try:
        terms = saml.terms(app)
        if not OneLogin_Saml2_Auth(here, terms).validate_request_signature(dict(told)):
            raise saml.Refused("the signature of the question is not the provider's")
        asked = OneLogin_Saml2_Logout_Request(terms, sent)
        asked.is_valid(here, raise_exceptions=True)
        root = etree.fromstring(asked.get_xml().encode())
        subject = str(OneLogin_Saml2_Logout_Request.get_nameid(root, app.settings["own_key"]))
        stand_to(root, ours, app)
        answer = OneLogin_Saml2_Logout_Response(terms)
        answer.build(root.get("ID"))
        where = to_provider(app, "SAMLResponse", answer.get_response())
    except saml.UNREADABLE as error:
        raise saml.Refused(f"{type(error).__name__}: {error}") from error
    saml.once(app, root.get("ID"), int(datetime.now(UTC).timestamp()))
    return subject, where


def stand_to(root: Any, ours: str, app: Any) -> None:
    """Raise saml.Refused for what the library lets a provider leave out."""
    issuer = root.findtext("saml:Issuer", "", saml.NAMES).strip()
    if issuer != app.settings["entity_id"] or root.get("Destination") != ours:
        raise saml.Refused("the question is somebody else's, or for another address")
    issued = saml.second_of(root.get("IssueInstant"))
    if abs(datetime.now(UTC).timestamp() - issued) > saml.DRIFT:
        raise saml.Refused("the question is old")


def end_sessions(app: Any, subject: str) -> int:
    """End the person's sessions that began at this provider; how many."""
    account = SocialAccount.objects.filter(provider=app.provider_id, uid=subject).first()
    if account is None:
        return 0
    store = import_module(settings.SESSION_ENGINE).SessionStore
    ended = 0
    for each in UserSession.objects.filter(user=account.user):
        records = store(each.session_key).load().get(METHODS, [])
        if any(record.get("provider") == app.provider_id for record in records):
            each.end()
            ended += 1
    if ended:
        told_in_each_tenant("sign_out", account.user)
    return ended


def leaving(user: User, records: list[dict[str, Any]]) -> tuple[str, str]:
    """What the provider of this session is called and where one signs out there; "" for none."""
    names = {each.get("provider") for each in records}
    for entry in settings.SAML_APPS:
        app = saml.Provider(entry)
        if app.provider_id not in names or not app.settings["slo_url"]:
            continue
        account = SocialAccount.objects.filter(user=user, provider=app.provider_id).first()
        if account is not None:
            asked = OneLogin_Saml2_Logout_Request(saml.terms(app), name_id=account.uid)
            return app.name, to_provider(app, "SAMLRequest", asked.get_request())
    return "", ""


def to_provider(app: Any, kind: str, message: str) -> str:
    """The provider's address for leaving, with our signed message."""
    there = app.settings["slo_url"]
    joint = "&" if urlsplit(there).query else "?"
    return f"{there}{joint}{urlencode(saml.signed(app, kind, message))}"
