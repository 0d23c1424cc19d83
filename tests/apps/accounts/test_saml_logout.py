"""With a key of our own: encrypted answers, signed questions, and leaving on both sides at once."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client
from lxml import etree

from apps.accounts.models import User
from apps.tenants.models import Membership, Role
from calm_engine.errors import InputError
from counterpoint import samlfile
from tests.apps.accounts.identity_provider import (
    NAMES,
    IdentityProvider,
    encrypted,
    is_signed_by,
    is_signed_inside,
    keys,
    leaving,
    posted,
    question_of_leaving,
    running,
)
from tests.apps.accounts.test_saml import DEE, come, entry, trust, who
from tests.cast import PASSWORD, Cast

LOGOUT = "http://127.0.0.1:8000/accounts/saml/north/logout/"
SLO = "https://idp.north.example/slo"


def ours(folder: Path, **more: Any) -> dict[str, Any]:
    """What IT writes besides, where we have a key."""
    key, certificate = keys("counterpoint")
    (folder / "own.key").write_bytes(key)
    (folder / "own.pem").write_bytes(certificate)
    return {"own_key": "own.key", "own_certificate": "own.pem", "slo_url": SLO, **more}


@pytest.fixture
def north(settings: Any, tmp_path: Path) -> Iterator[IdentityProvider]:
    with running(IdentityProvider("north", {"dee-1": DEE})) as provider:
        trust(settings, tmp_path, {"north": entry(provider, tmp_path, **ours(tmp_path))})
        yield provider


def leave(provider: IdentityProvider, subject: str = "dee-1", **more: str) -> Any:
    """The provider sends somebody's browser here, to leave; it may be any browser."""
    query = question_of_leaving(provider, more.pop("to", LOGOUT), subject, **more)
    return Client().get(f"/accounts/saml/north/logout/?{query}")


@pytest.mark.parametrize("how", ["aes256-gcm", "aes128-cbc"])
def test_an_encrypted_answer_is_read_with_our_key(
    cast: Cast, north: IdentityProvider, how: str
) -> None:
    north.forge = lambda xml: encrypted(xml, keys("counterpoint")[1], how)
    client = Client()
    come(client)
    dee = who(client)
    assert dee is not None
    assert dee.email == "dee@north.example"


@pytest.mark.parametrize("what", ["for another", "unsigned inside", "signed by somebody"])
def test_an_encrypted_answer_is_believed_no_more_than_a_plain_one(
    cast: Cast, north: IdentityProvider, what: str
) -> None:
    readers = "mallory" if what == "for another" else "counterpoint"
    if what == "signed by somebody":
        north.key = "mallory"
    if what == "unsigned inside":
        north.change = lambda each: replace(each, signs=False)
    north.forge = lambda xml: encrypted(xml, keys(readers)[1])
    client = Client()
    assert come(client)["Location"] == "/accounts/sign-in/"
    assert who(client) is None


def test_our_questions_are_signed_and_the_metadata_says_how(
    cast: Cast, north: IdentityProvider
) -> None:
    there = Client().get("/accounts/saml/north/login/")["Location"]
    assert is_signed_by(urlsplit(there).query, "SAMLRequest", keys("counterpoint")[1])
    told = Client().get("/accounts/saml/north/metadata/").content
    assert LOGOUT.encode() in told
    assert b'use="encryption"' in told
    assert b'AuthnRequestsSigned="true"' in told


def test_the_provider_ends_the_sessions_that_began_with_it_and_no_others(
    cast: Cast, north: IdentityProvider
) -> None:
    client, other = Client(), Client()
    come(client)
    come(other)
    dee = who(client)
    assert dee is not None
    dee.set_password(PASSWORD)
    dee.save()
    client, other, own = Client(), Client(), Client()
    come(client)
    come(other)
    own.post("/accounts/sign-in/", {"username": dee.email, "password": PASSWORD})
    assert who(own) == dee
    answer = leave(north)
    assert answer["Location"].startswith(f"{SLO}?SAMLResponse=")
    assert is_signed_by(urlsplit(answer["Location"]).query, "SAMLResponse", keys("counterpoint")[1])
    assert [each.get("/chat/").status_code for each in (client, other, own)] == [302, 302, 200]
    assert UserSession.objects.filter(user=dee).count() >= 1


REFUSALS: dict[str, dict[str, str]] = {
    "another issuer": {"issuer": "https://idp.south.example/metadata"},
    "another address": {"to": "https://another.example/logout/"},
    "a longer address": {"to": f"{LOGOUT}more/"},
    "an old one": {"at": "2020-01-01T00:00:00Z"},
    "one to come": {"at": "2100-01-01T00:00:00Z"},
    "no time": {"at": "soon"},
}


@pytest.mark.parametrize("what", [*REFUSALS, "signed by somebody", "twice", "unsigned", "rubbish"])
def test_a_question_that_is_not_the_providers_ends_nothing(
    cast: Cast, north: IdentityProvider, what: str
) -> None:
    client = Client()
    come(client)
    place = "/accounts/saml/north/logout/"
    if what == "twice":
        query = question_of_leaving(north, LOGOUT, "dee-1")
        assert Client().get(f"{place}?{query}")["Location"].startswith(SLO)
        client = Client()
        come(client)
        answer = Client().get(f"{place}?{query}")
    elif what == "unsigned":
        query = question_of_leaving(north, LOGOUT, "dee-1")
        answer = Client().get(f"{place}?{query.partition('&Signature')[0]}")
    elif what == "rubbish":
        for sent in ("", "%21&Signature=x", "AAAA&Signature=AAAA", "A" * 9000):
            answer = Client().get(f"{place}?SAMLRequest={sent}")
            assert answer["Location"] == "/accounts/sign-in/"
    elif what == "signed by somebody":
        north.key = "mallory"
        answer = leave(north)
    else:
        answer = leave(north, **REFUSALS[what])
    assert answer["Location"] == "/accounts/sign-in/"
    assert client.get("/chat/").status_code == 200


def test_a_providers_word_ends_nobody_of_another_tenant(
    cast: Cast, north: IdentityProvider
) -> None:
    eve = User.objects.create_user("eve@south.example", PASSWORD, name="Eve")
    Membership.objects.create(tenant=cast.south, user=eve, role=Role.EMPLOYEE)
    client = cast.client(eve)
    assert leave(north, "eve@south.example")["Location"].startswith(SLO)  # as for anybody unknown
    assert client.get("/chat/").status_code == 200


def test_whoever_signs_out_here_is_offered_to_sign_out_there(
    cast: Cast, north: IdentityProvider
) -> None:
    client = Client()
    come(client)
    page = client.post("/accounts/sign-out/", follow=True).content.decode()
    assert "Sign out at north too" in page
    asked = page.partition(f'href="{SLO}?')[2].partition('"')[0].replace("&amp;", "&")
    assert is_signed_by(asked, "SAMLRequest", keys("counterpoint")[1])
    assert "Sign out at north" not in client.get("/accounts/sign-in/").content.decode()
    back = client.get("/accounts/saml/north/logout/", {"SAMLResponse": "AAAA"})
    assert back["Location"] == "/accounts/sign-in/"
    by_password = cast.client(cast.ada).post("/accounts/sign-out/", follow=True)
    assert b"Sign out at north" not in by_password.content


# --- by the POST binding --------------------------------------------------------------------------


def post(xml: bytes) -> Any:
    """Somebody's browser brings the provider's form here."""
    sent = {"SAMLRequest": base64.b64encode(xml).decode()}
    return Client(enforce_csrf_checks=True).post("/accounts/saml/north/logout/", sent)


def field(page: str, name: str) -> str:
    return page.partition(f'name="{name}" value="')[2].partition('"')[0]


def test_a_question_by_a_form_ends_them_too_and_is_answered_the_way_the_provider_takes(
    cast: Cast, north: IdentityProvider, settings: Any, tmp_path: Path
) -> None:
    client = Client()
    come(client)
    answer = post(posted(leaving(north, LOGOUT, "dee-1"), north))
    assert answer["Location"].startswith(f"{SLO}?SAMLResponse=")
    assert client.get("/chat/").status_code == 302
    more = ours(tmp_path, slo_binding="post")
    trust(settings, tmp_path, {"north": entry(north, tmp_path, **more)})
    come(client)
    answer = post(posted(leaving(north, LOGOUT, "dee-1"), north))
    page = answer.content.decode()
    assert client.get("/chat/").status_code == 302
    assert f'action="{SLO}"' in page
    assert is_signed_inside(field(page, "SAMLResponse"), keys("counterpoint")[1])
    policy = answer["Content-Security-Policy"].split("; ")  # in an order of chance
    assert "form-action 'self' https://idp.north.example" in policy


def test_the_metadata_names_both_bindings(cast: Cast, north: IdentityProvider) -> None:
    told = Client().get("/accounts/saml/north/metadata/").content.decode()
    for binding in ("HTTP-POST", "HTTP-Redirect"):
        assert (
            f'SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:{binding}' in told
        )


def test_signing_out_is_offered_by_a_form_where_the_provider_takes_forms(
    cast: Cast, north: IdentityProvider, settings: Any, tmp_path: Path
) -> None:
    more = ours(tmp_path, slo_binding="post")
    trust(settings, tmp_path, {"north": entry(north, tmp_path, **more)})
    client = Client()
    come(client)
    answer = client.post("/accounts/sign-out/", follow=True)
    page = answer.content.decode()
    assert "Sign out at north too" in page
    assert is_signed_inside(field(page, "SAMLRequest"), keys("counterpoint")[1])
    assert "https://idp.north.example" in answer["Content-Security-Policy"]
    plain = client.get("/accounts/sign-in/")
    assert "https://idp.north.example" not in plain["Content-Security-Policy"]
    back = client.post("/accounts/saml/north/logout/", {"SAMLResponse": "AAAA"})
    assert back["Location"] == "/accounts/sign-in/"


def wrapped(xml: bytes) -> bytes:
    """Another question around the signed one, whose signature still verifies."""
    inner = etree.fromstring(xml)
    outer = etree.fromstring(xml)
    outer.set("ID", "_other")
    outer.find("saml:NameID", NAMES).text = "bo-1"
    signature = outer.find("ds:Signature", NAMES)
    for each in list(signature):
        if each.tag.endswith("KeyInfo"):
            signature.remove(each)
    holder = etree.SubElement(signature, f"{{{NAMES['ds']}}}Object")
    holder.append(inner)
    return etree.tostring(outer)


def changed(xml: bytes) -> bytes:
    return xml.replace(b"dee-1", b"bo-1")


def unsigned(xml: bytes) -> bytes:
    root = etree.fromstring(xml)
    root.remove(root.find("ds:Signature", NAMES))
    return etree.tostring(root)


def with_entity(xml: bytes) -> bytes:
    return b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + xml


TAMPERED = {each.__name__: each for each in (wrapped, changed, unsigned, with_entity)}


@pytest.mark.parametrize(
    "what", [*REFUSALS, *TAMPERED, "sha1", "signed by somebody", "twice", "rubbish"]
)
def test_a_form_that_is_not_the_providers_ends_nothing(
    cast: Cast, north: IdentityProvider, what: str
) -> None:
    client = Client()
    come(client)
    told = dict(REFUSALS.get(what, {}))
    if what == "signed by somebody":
        north.key = "mallory"
    digest = "sha1" if what == "sha1" else "sha256"
    xml = posted(leaving(north, told.pop("to", LOGOUT), "dee-1", **told), north, digest)
    if what == "twice":
        assert post(xml)["Location"].startswith(SLO)
        come(client)
    answers = [post(TAMPERED[what](xml) if what in TAMPERED else xml)]
    if what == "rubbish":
        answers = [post(each) for each in (b"", b"<a/>", b"no xml", b"<a>" * 40_000)]
        bad = Client().post("/accounts/saml/north/logout/", {"SAMLRequest": "%%%"})
        answers.append(bad)
    assert {each["Location"] for each in answers} == {"/accounts/sign-in/"}
    if what != "rubbish":
        assert client.get("/chat/").status_code == 200


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"own_key": "own.key"}, "go together"),
        ({"slo_url": SLO}, "slo_url needs own_key"),
        ({"slo_binding": "soap"}, "slo_binding should be one of"),
        ({"own_key": "own.pem", "own_certificate": "own.pem"}, "no private key in PEM"),
        ({"own_key": "own.key", "own_certificate": "north.pem"}, "not that of own_key"),
        ({"slo_url": "http://x.example/slo"}, "slo_url should begin with https://"),
    ],
)
def test_a_wrong_key_of_ours_stops_the_start(tmp_path: Path, told: Any, words: str) -> None:
    ours(tmp_path)
    whole = entry(IdentityProvider("north", {}, port=1), tmp_path) | told
    with pytest.raises(InputError, match=words):
        samlfile.app("north", whole, tmp_path)
