"""With a key of our own: encrypted answers, signed questions, and leaving on both sides at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from apps.accounts.models import User
from apps.tenants.models import Membership, Role
from calm_engine.errors import InputError
from counterpoint import samlfile
from tests.apps.accounts.identity_provider import (
    IdentityProvider,
    encrypted,
    is_signed_by,
    keys,
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


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"own_key": "own.key"}, "go together"),
        ({"slo_url": SLO}, "slo_url needs own_key"),
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
