"""A provider, or somebody on the way to it, that lies: what an OpenID Connect token may not do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.http import HttpResponse
from django.test import Client

from apps.accounts.models import User
from apps.tenants.models import Membership, Role
from tests.apps.accounts.hostile_oidc import (
    Claims,
    Liar,
    by_the_public_key,
    running,
    signed,
    without_signature,
)
from tests.cast import Cast

DEE = {
    "sub": "dee-1",
    "email": "dee@north.example",
    "email_verified": True,
    "name": "Dee Roth",
}


@pytest.fixture
def liar(cast: Cast, settings: Any) -> Iterator[Liar]:
    """A provider that knows Dee and tells the truth so far, for North."""
    settings.SSO_TENANT = "north"
    with running(Liar(dict(DEE))) as found:
        app = {
            "provider_id": "sso",
            "name": "North",
            "client_id": "counterpoint",
            "secret": "a secret",
            "settings": {"server_url": found.address},
        }
        settings.OIDC_APPS = [app]
        settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
        yield found


def come(client: Client, **query: str) -> HttpResponse:
    there = client.get("/accounts/oidc/sso/login/", query)
    if there["Location"] == "/accounts/sign-in/":
        return there
    back = urlsplit(httpx.get(there["Location"], trust_env=False).headers["Location"])
    return client.get(f"{back.path}?{back.query}")


def who(client: Client) -> User | None:
    return User.objects.filter(pk=client.session.get("_auth_user_id")).first()


def changed(**more: object) -> Callable[[Claims], Claims]:
    return lambda claims: {
        name: value for name, value in (claims | more).items() if value is not None
    }


def test_the_truth_is_believed_by_its_signature(cast: Cast, liar: Liar) -> None:
    client = Client()
    come(client)
    dee = who(client)
    assert dee is not None
    assert dee.email == "dee@north.example"
    liar.sign = lambda claims: signed(claims, kid=None)  # the only key need not be named
    again = Client()
    come(again)
    assert who(again) == dee


LIES: dict[str, Callable[[Liar], object]] = {
    "alg none": lambda liar: setattr(liar, "sign", without_signature),
    "the public key as a secret": lambda liar: setattr(liar, "sign", by_the_public_key),
    "another key": lambda liar: setattr(liar, "sign", lambda told: signed(told, by="mallory")),
    "an unknown key": lambda liar: setattr(
        liar, "sign", lambda told: signed(told, by="mallory", kid="mallory")
    ),
    "a shared key": lambda liar: setattr(liar, "sign", lambda told: signed(told, kid="shared")),
    "no token": lambda liar: setattr(liar, "sign", lambda _told: ""),
    "rubbish": lambda liar: setattr(liar, "sign", lambda _told: "a.b.c"),
    "another issuer": lambda liar: setattr(liar, "change", changed(iss="https://evil.example")),
    "another audience": lambda liar: setattr(liar, "change", changed(aud="another")),
    "made for another": lambda liar: setattr(
        liar, "change", changed(aud=["counterpoint", "another"], azp="another")
    ),
    "expired": lambda liar: setattr(liar, "change", changed(exp=int(time.time()) - 3600)),
    "endless": lambda liar: setattr(liar, "change", changed(exp=None)),
    "from tomorrow": lambda liar: setattr(liar, "change", changed(iat=int(time.time()) + 86400)),
    "another question's": lambda liar: setattr(liar, "change", changed(nonce="x" * 64)),
    "nobody's question": lambda liar: setattr(liar, "change", changed(nonce=None)),
    "nobody": lambda liar: setattr(liar, "change", changed(sub=None)),
    "two people": lambda liar: liar.told.update(sub="ada-1"),
    "a provider without keys": lambda liar: setattr(liar, "hides", "jwks_uri"),
    "a provider that is another": lambda liar: setattr(liar, "issuer", "https://evil.example"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_lie_opens_nothing_and_is_told_in_words(cast: Cast, liar: Liar, what: str) -> None:
    LIES[what](liar)
    client = Client()
    assert come(client)["Location"] == "/accounts/sign-in/", what
    assert b"did not answer as it should" in client.get("/accounts/sign-in/").content
    assert who(client) is None
    assert not User.objects.filter(email="dee@north.example").exists()


def test_there_is_no_other_provider_than_the_sites(cast: Cast, liar: Liar) -> None:
    for where in ("login/", "login/callback/"):
        assert Client().get(f"/accounts/oidc/another/{where}").status_code == 404


def test_an_address_of_another_tenant_is_not_this_providers_to_claim(
    cast: Cast, liar: Liar
) -> None:
    eve = User.objects.create_user("eve@south.example", name="Eve")  # by South's directory
    Membership.objects.create(tenant=cast.south, user=eve, role=Role.CURATOR)
    liar.claims |= {"sub": "eve", "email": "eve@south.example"}
    client = Client()
    come(client)
    assert who(client) is None
    assert not Membership.objects.filter(tenant=cast.north, user=eve).exists()


@pytest.mark.parametrize(
    "twin",
    [
        "ban\N{KELVIN SIGN}@north.example",  # small, it is an ordinary k
        "b\N{CYRILLIC SMALL LETTER A}nk@north.example",
        "bank@north\N{FULLWIDTH FULL STOP}example",
    ],
)
def test_a_twin_of_an_address_is_nobodys(cast: Cast, liar: Liar, twin: str) -> None:
    bank = User.objects.create_user("bank@north.example", name="Bank")
    Membership.objects.create(tenant=cast.north, user=bank, role=Role.CURATOR)
    liar.claims |= {"sub": "mallory", "email": twin}
    client = Client()
    come(client)
    assert who(client) is None
    liar.claims |= {"email": "Bank@North.example"}
    come(client)
    assert who(client) == bank  # written in another way, it is the same


def test_what_a_link_says_changes_neither_the_question_nor_whom_it_is_for(
    cast: Cast, liar: Liar
) -> None:
    client = Client()
    hostile = {"process": "connect", "scope": "all", "auth_params": "nonce=known&prompt=none"}
    there = client.get("/accounts/oidc/sso/login/", hostile | {"next": "https://evil.example/"})
    asked = parse_qs(urlsplit(there["Location"]).query)
    assert "prompt" not in asked
    assert "all" not in asked["scope"][0].split()
    assert asked["nonce"] != ["known"]
    assert come(client, **hostile, next="https://evil.example/")["Location"] == "/"


@pytest.mark.parametrize("groups", ["Legal", {"Legal": 1}, [["Legal"]], [None, 7], "x" * 100_000])
def test_groups_in_a_shape_that_is_none_give_nothing(
    cast: Cast, liar: Liar, groups: object
) -> None:
    liar.claims |= {"groups": groups}
    client = Client()
    come(client)
    assert who(client) is not None
