"""Single logout of SAML 2.0 (profile 4.4), by messages that both sides sign.

A provider may end the sessions that began with it, and no others: one of another tenant's, or one
by password, goes on. Whoever signs out here is offered to sign out there. Knows no page.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from urllib.parse import urlencode, urlsplit

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY as METHODS
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.conf import settings
from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.logout_request import OneLogin_Saml2_Logout_Request
from onelogin.saml2.logout_response import OneLogin_Saml2_Logout_Response
from onelogin.saml2.utils import OneLogin_Saml2_Utils
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from apps.accounts import saml, saml_post
from apps.accounts.actions import told_in_each_tenant
from apps.accounts.models import User

TOO_LONG = 8_000  # characters of a question in an address


@dataclass(frozen=True)
class Way:
    """Where a browser takes our message: as it is, or by a form that posts these fields."""

    to: str
    fields: dict[str, str]


def asked_by_address(app: Any, told: Mapping[str, str], query: str) -> tuple[str, Way]:
    """Whose sessions the provider ends, and the way of our answer.

    told   the fields of the question; `query` as it came, since that is what is signed
    Raises saml.Refused for what is not the provider's, not signed, not for us, old, or was taken.
    """
    sent = told.get("SAMLRequest", "")
    if not sent or len(sent) > TOO_LONG or not told.get("Signature"):
        raise saml.Refused("the question is missing, too long or not signed")
    here = {**place(app), "get_data": dict(told)}
    here |= {"query_string": query, "validate_signature_from_qs": True}
    try:
        terms = saml.terms(app)
        if not OneLogin_Saml2_Auth(here, terms).validate_request_signature(dict(told)):
            raise saml.Refused("the signature of the question is not the provider's")
        return asked(app, OneLogin_Saml2_Logout_Request(terms, sent), here)
    except saml.UNREADABLE as error:
        raise saml.Refused(f"{type(error).__name__}: {error}") from error


def asked_by_form(app: Any, sent: str) -> tuple[str, Way]:
    """The same for a question that a form brought. Raises as `asked_by_address`."""
    here = place(app)
    try:
        xml = saml_post.message_of(app, sent)
        again = base64.b64encode(xml.encode()).decode()
        return asked(app, OneLogin_Saml2_Logout_Request(saml.terms(app), again), here)
    except saml.UNREADABLE as error:
        raise saml.Refused(f"{type(error).__name__}: {error}") from error


def place(app: Any) -> dict[str, Any]:
    """Our address for leaving. Raises saml.Refused where the provider has none of its own."""
    if not app.settings["slo_url"]:
        raise saml.Refused("this provider has no single logout here")
    return saml.place(saml.address("logout", app.client_id))


def asked(app: Any, question: Any, here: dict[str, Any]) -> tuple[str, Way]:
    """What a question says whose signature was verified; from now on it was taken."""
    question.is_valid(here, raise_exceptions=True)
    root = OneLogin_Saml2_XML.to_etree(question.get_xml())
    subject = str(OneLogin_Saml2_Logout_Request.get_nameid(root, app.settings["own_key"]))
    stand_to(root, saml.address("logout", app.client_id), app)
    answer = OneLogin_Saml2_Logout_Response(saml.terms(app))
    answer.build(root.get("ID"))
    way = to_provider(app, "SAMLResponse", answer.get_xml())
    saml.once(app, root.get("ID"), int(datetime.now(UTC).timestamp()))
    return subject, way


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


def leaving(user: User, records: list[dict[str, Any]]) -> tuple[str, Way] | None:
    """What the provider of this session is called and the way to sign out there; None for none."""
    names = {each.get("provider") for each in records}
    for entry in settings.SAML_APPS:
        app = saml.Provider(entry)
        if app.provider_id not in names or not app.settings["slo_url"]:
            continue
        account = SocialAccount.objects.filter(user=user, provider=app.provider_id).first()
        if account is not None:
            asks = OneLogin_Saml2_Logout_Request(saml.terms(app), name_id=account.uid)
            return app.name, to_provider(app, "SAMLRequest", asks.get_xml())
    return None


def to_provider(app: Any, kind: str, message: str) -> Way:
    """The way of our signed message to where the provider takes them, by the binding it takes."""
    there = app.settings["slo_url"]
    if app.settings["slo_binding"] == "post":
        return Way(there, {kind: saml_post.signed(app, message)})
    joint = "&" if urlsplit(there).query else "?"
    told = saml.signed(app, kind, OneLogin_Saml2_Utils.deflate_and_base64_encode(message))
    return Way(f"{there}{joint}{urlencode(told)}", {})


def origin(way: Way) -> str:
    """The provider's scheme, host and port, for the policy of a page whose form leads there."""
    parts = urlsplit(way.to)
    return f"{parts.scheme}://{parts.netloc}"
