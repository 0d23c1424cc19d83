"""SAML 2.0 in the browser: what we ask an identity provider, and which of its answers we believe.

Schema, signature, times, issuer and audience are python3-saml's to verify. It takes for granted
what a provider may leave out; we do not (profiles 4.1.4.2 and 4.1.4.3): the assertion itself is
signed, for exactly this site and this address, as the answer to a question, until a time that it
names, and is taken once. Knows neither accounts nor sessions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import xmlsec
from django.conf import settings
from django.core.cache import cache
from django.urls import reverse
from lxml import etree
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
NAMES = {"saml": "urn:oasis:names:tc:SAML:2.0:assertion"}
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


def address(what: str, tenant: str) -> str:
    """Our own address for this tenant, as the provider knows it: never what a request claims."""
    return settings.SITE_URL.rstrip("/") + reverse(f"saml_{what}", args=[tenant])


def terms(app: Any) -> OneLogin_Saml2_Settings:
    """Who we are, who they are, and what we insist on."""
    told = app.settings
    return OneLogin_Saml2_Settings(
        {
            "strict": True,
            "sp": {
                "entityId": address("metadata", app.client_id),
                "assertionConsumerService": {"url": address("acs", app.client_id), "binding": POST},
                "NameIDFormat": PERSISTENT,
            },
            "idp": {
                "entityId": told["entity_id"],
                "singleSignOnService": {"url": told["sso_url"], "binding": REDIRECT},
                "x509certMulti": {"signing": told["certificates"]},
            },
            "security": {
                "wantAssertionsSigned": True,
                "wantAttributeStatement": False,
                "allowRepeatAttributeName": True,
                "rejectDeprecatedAlgorithm": True,
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
    return ask.get_id(), f"{there}{joint}SAMLRequest={quote(ask.get_request(), safe='')}"


def metadata(app: Any) -> bytes:
    """Who we are, for the provider's administrator to read in."""
    found = terms(app).get_sp_metadata()
    return found if isinstance(found, bytes) else str(found).encode()


def believed(app: Any, sent: str) -> Said:
    """What the answer says. Raises Refused; the same answer a second time is refused too."""
    if not sent or len(sent) > TOO_LARGE:
        raise Refused("nothing was sent, or far too much")
    ours = address("acs", app.client_id)
    parts = urlsplit(ours)
    here = {
        "https": "on" if parts.scheme == "https" else "off",
        "http_host": parts.netloc,
        "script_name": parts.path,
    }
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
            second = int(OneLogin_Saml2_Utils.parse_SAML_to_time(lasts))
            if second + DRIFT > datetime.now(UTC).timestamp():
                return second
    raise Refused("it is no answer to a question of this site, or has no end")


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
