"""SAML 2.0 in the browser: what we ask an identity provider, and which of its answers we believe.

Schema, signature, times, issuer and audience are python3-saml's to verify. It takes for granted
what a provider may leave out; we do not (profiles 4.1.4.2 and 4.1.4.3): the assertion itself is
signed, for exactly this site and this address, as the answer to a question, until a time that it
names, and is taken once. It may be encrypted for us, where we have a key; with it our questions are
signed. Knows neither accounts nor sessions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import xmlsec
from django.conf import settings
from django.core.cache import cache
from django.urls import reverse
from lxml import etree
from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.authn_request import OneLogin_Saml2_Authn_Request
from onelogin.saml2.errors import OneLogin_Saml2_Error, OneLogin_Saml2_ValidationError
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings
from onelogin.saml2.utils import OneLogin_Saml2_Utils

TOO_LARGE = 2_000_000  # characters of an answer; ten thousand groups are well below
DRIFT = 300  # seconds by which clocks may differ
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
ADDRESS = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
NAMES = {
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
}
UNREADABLE = (
    *(OneLogin_Saml2_Error, OneLogin_Saml2_ValidationError),
    *(etree.LxmlError, xmlsec.Error, ValueError, TypeError),
)
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
# What providers call these when nobody tells them otherwise; SAML_FILE may name another.
CALLED = {
    "email": (
        "email",
        "mail",
        "urn:oid:0.9.2342.19200300.100.1.3",
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    ),
    "full_name": (
        "displayName",
        "name",
        "urn:oid:2.16.840.1.113730.3.1.241",
        "http://schemas.microsoft.com/identity/claims/displayname",
    ),
    "groups": (
        "groups",
        "memberOf",
        "urn:oid:1.3.6.1.4.1.5923.1.5.1.1",
        "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups",
        "http://schemas.xmlsoap.org/claims/Group",
    ),
}


class Refused(Exception):  # noqa: N818  what the sign-in page words; the reason is for the log
    """An answer that is not believed."""


@dataclass(frozen=True)
class Said:
    """What a believed answer says.

    asked    the id of the question that it answers
    subject  who it is, at this provider for ever
    """

    asked: str
    subject: str
    email: str
    name: str
    groups: list[str]


@dataclass(frozen=True)
class Provider:
    """One entry of SAML_APPS, as allauth's own row of a provider would read."""

    entry: Mapping[str, Any]

    @property
    def provider_id(self) -> str:
        return str(self.entry["provider_id"])

    @property
    def client_id(self) -> str:
        return str(self.entry["client_id"])

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.entry["settings"]
        return found


def address(what: str, tenant: str) -> str:
    """Our own address for this tenant, as the provider knows it: never what a request claims."""
    return settings.SITE_URL.rstrip("/") + reverse(f"saml_{what}", args=[tenant])


def terms(app: Any, *, shows_key: bool = False) -> OneLogin_Saml2_Settings:
    """Who we are, who they are, and what we insist on.

    shows_key   for the metadata: the library tells what to encrypt by only where it insists on it
    """
    told = app.settings
    has_key = bool(told["own_key"])
    leaves = {"url": address("logout", app.client_id), "binding": REDIRECT}
    there = {"url": told["slo_url"], "binding": REDIRECT}
    return OneLogin_Saml2_Settings(
        {
            "strict": True,
            "sp": {
                "entityId": address("metadata", app.client_id),
                "assertionConsumerService": {"url": address("acs", app.client_id), "binding": POST},
                "NameIDFormat": PERSISTENT,
                "privateKey": told["own_key"],
                "x509cert": told["own_certificate"],
                **({"singleLogoutService": leaves} if told["slo_url"] else {}),
            },
            "idp": {
                "entityId": told["entity_id"],
                "singleSignOnService": {"url": told["sso_url"], "binding": REDIRECT},
                **({"singleLogoutService": there} if told["slo_url"] else {}),
                "x509certMulti": {"signing": told["certificates"]},
            },
            "security": {
                "wantAssertionsSigned": True,
                "wantAttributeStatement": False,
                "allowRepeatAttributeName": True,
                "rejectDeprecatedAlgorithm": True,
                "wantAssertionsEncrypted": has_key and shows_key,
                "authnRequestsSigned": has_key,
                "logoutRequestSigned": has_key,
                "logoutResponseSigned": has_key,
                "requestedAuthnContext": False,
                # Names without a dot are ordinary inside a company.
                "allowSingleLabelDomains": True,
            },
        }
    )


def question(app: Any) -> tuple[str, str]:
    """Where the browser goes to ask who somebody is, and the id that the answer has to name."""
    ask = OneLogin_Saml2_Authn_Request(terms(app))
    there = app.settings["sso_url"]
    joint = "&" if urlsplit(there).query else "?"
    told = signed(app, "SAMLRequest", ask.get_request())
    return ask.get_id(), f"{there}{joint}{urlencode(told)}"


def signed(app: Any, kind: str, message: str) -> dict[str, str]:
    """The fields of an address that carries this message, signed where we have a key."""
    told = {kind: message}
    if app.settings["own_key"]:
        signer = OneLogin_Saml2_Auth(place(address("acs", app.client_id)), terms(app))
        add = (
            signer.add_request_signature if kind == "SAMLRequest" else signer.add_response_signature
        )
        add(told)
    return told


def place(ours: str) -> dict[str, Any]:
    """One of our addresses as the library wants a request: never what a request claims."""
    parts = urlsplit(ours)
    return {
        "https": "on" if parts.scheme == "https" else "off",
        "http_host": parts.netloc,
        "script_name": parts.path,
        "get_data": {},
        "post_data": {},
    }


def metadata(app: Any) -> bytes:
    """Who we are, for the provider's administrator to read in."""
    found = terms(app, shows_key=True).get_sp_metadata()
    root = etree.fromstring(found if isinstance(found, bytes) else str(found).encode())
    # The library names one binding, and both are taken.
    for leaves in root.findall(".//md:SingleLogoutService", NAMES):
        other = etree.fromstring(etree.tostring(leaves))
        other.set("Binding", POST)
        leaves.addnext(other)
    told: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return told


def believed(app: Any, sent: str) -> Said:
    """What the answer says. Raises Refused; the same answer a second time is refused too."""
    if not sent or len(sent) > TOO_LARGE:
        raise Refused("nothing was sent, or far too much")
    ours = address("acs", app.client_id)
    here = place(ours)
    try:
        answer = OneLogin_Saml2_Response(terms(app), sent)
        if not answer.is_valid(here):
            raise Refused(str(answer.get_error()))
        # Exactly one stands in the document, and its signature is verified.
        assertion = answer.get_xml_document().find("saml:Assertion", NAMES)
        lasts = until(assertion, ours, answer.get_in_response_to())
        stand_to(assertion, answer, ours, app)
        said = what_it_says(app, answer)
    except UNREADABLE as error:
        raise Refused(f"{type(error).__name__}: {error}") from error
    once(app, assertion.get("ID"), lasts)
    return said


def until(assertion: Any, ours: str, asked: str | None) -> int:
    """The second at which the answer lapses. Raises Refused unless it is one to our question.

    What stands outside of the assertion may be unsigned: who was asked, and where, is taken from
    inside, and the library has seen to the times.
    """
    for confirmation in assertion.findall("saml:Subject/saml:SubjectConfirmation", NAMES):
        data = confirmation.find("saml:SubjectConfirmationData", NAMES)
        if confirmation.get("Method") != BEARER or data is None:
            continue
        lasts = data.get("NotOnOrAfter")
        if data.get("Recipient") == ours and asked and data.get("InResponseTo") == asked and lasts:
            second = second_of(lasts)
            if second + DRIFT > datetime.now(UTC).timestamp():
                return second
    raise Refused("it is no answer to a question of this site, or has no end")


def second_of(moment: str) -> int:
    """Raises ValueError for what is no time."""
    return int(OneLogin_Saml2_Utils.parse_SAML_to_time(moment))


def stand_to(assertion: Any, answer: Any, ours: str, app: Any) -> None:
    """Raise Refused unless it is meant for us alone, by name and by address."""
    restrictions = assertion.findall("saml:Conditions/saml:AudienceRestriction", NAMES)
    us = address("metadata", app.client_id)
    named = [
        {"".join(each.itertext()).strip() for each in one.findall("saml:Audience", NAMES)}
        for one in restrictions
    ]
    if not named or not all(us in names for names in named):
        raise Refused("it is meant for another site")
    if answer.document.get("Destination") not in (None, ours):
        raise Refused("it was sent to another address")


def what_it_says(app: Any, answer: Any) -> Said:
    """The person, in this provider's words. Raises Refused without a lasting subject."""
    subject, kind = answer.get_nameid() or "", answer.get_nameid_format()
    if not 0 < len(subject) <= 190 or kind == TRANSIENT:
        raise Refused("the subject is missing, too long, or another one each time")
    told = answer.get_attributes()

    def values(what: str) -> list[str]:
        own = app.settings["attributes"].get(what)
        for name in (own,) if own else CALLED[what]:
            if found := [each for each in told.get(name, []) if isinstance(each, str)]:
                return found
        return []

    email = next(iter(values("email")), subject if kind == ADDRESS else "")
    name = next(iter(values("full_name")), "")
    return Said(answer.get_in_response_to(), subject, email.strip(), name, values("groups"))


def once(app: Any, name: str, lasts: int) -> None:
    """Raise Refused when this assertion was taken before; remembered until nobody takes it."""
    mark = hashlib.sha256(f"{app.provider_id} {name}".encode()).hexdigest()
    left = max(1, lasts + 2 * DRIFT - int(datetime.now(UTC).timestamp()))
    if not cache.add(f"saml-taken:{mark}", 1, left):
        raise Refused("it was taken before")
