"""Passkeys, by a security key in software that signs for real: made, used alone and as a factor."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.http import HttpResponse
from django.test import Client
from fido2.utils import websafe_encode

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.tenants.scope import tenant_scope
from tests.apps.accounts.authenticator import SecurityKey, broken_attestation
from tests.cast import PASSWORD, Cast

SIGN_IN, AGAIN = "/accounts/sign-in/", "/accounts/reauthenticate/"
ADD, ALONE = "/accounts/2fa/webauthn/add/", "/accounts/2fa/webauthn/login/"
SECOND = "/accounts/2fa/authenticate/"
BLOCK = re.compile(r'<script id="passkey-options" type="application/json">(.*?)</script>')


@pytest.fixture(autouse=True)
def _patient(settings: Any) -> None:
    """A test may try more often than a person."""
    settings.MFA_RATE_LIMITS = False
    settings.ACCOUNT_RATE_LIMITS = False


def browser() -> Client:
    """At an address where browsers know passkeys."""
    return Client(SERVER_NAME="localhost")


def by_password(client: Client, who: str = "bo@north.example") -> HttpResponse:
    return client.post(SIGN_IN, {"username": who, "password": PASSWORD})


def options(answer: HttpResponse, which: str) -> Any:
    found = BLOCK.search(answer.content.decode())
    assert found, (answer.status_code, answer.headers, answer.content)
    return json.loads(found[1])[which]


def offered(client: Client) -> Any:
    """What the sign-in page asks for when somebody presses the button."""
    answer = client.get(ALONE, headers={"Accept": "application/json"})
    return answer.json()["request_options"]


def sent(client: Client, where: str, credential: object, **more: str) -> HttpResponse:
    told = credential if isinstance(credential, str) else json.dumps(credential)
    return client.post(where, {"credential": told} | more)


def added(client: Client, key: SecurityKey, *, alone: bool = True) -> HttpResponse:
    """Add this key as a person would, who is asked for the password again first."""
    client.post(AGAIN, {"password": PASSWORD, "next": ADD})
    made = key.create(options(client.get(ADD), "creation_options"), alone=alone)
    return sent(client, ADD, made, name="my key", **({"passwordless": "on"} if alone else {}))


@pytest.fixture
def key(cast: Cast) -> SecurityKey:
    """Bo's passkey."""
    client, key = browser(), SecurityKey()
    by_password(client)
    assert client.get(ADD)["Location"].startswith(AGAIN)  # an open browser is not enough
    assert added(client, key).status_code == 302
    return key


def who(client: Client) -> User | None:
    return User.objects.filter(pk=client.session.get("_auth_user_id")).first()


def test_a_passkey_opens_without_a_password_and_without_another_factor(
    cast: Cast, key: SecurityKey
) -> None:
    cast.north.settings = {"require_mfa": True}
    cast.north.save()
    client = browser()
    assert b"cp-passkey" in client.get(SIGN_IN).content
    answer = sent(client, ALONE, key.get(offered(client)), next="/chat/")
    assert answer["Location"] == "/chat/"
    assert who(client) == cast.bo
    assert client.get("/chat/").status_code == 200
    with tenant_scope(cast.north):
        told = AuditEvent.objects.filter(by=cast.bo).values_list("action", flat=True)
        assert sorted(told) == ["factor.passkey.create", "sign_in", "sign_in"]


def test_the_password_alone_is_not_enough_any_more_and_a_passkey_completes_it(
    cast: Cast, key: SecurityKey
) -> None:
    client = browser()
    assert by_password(client)["Location"].startswith(SECOND)
    page = client.get(SECOND)
    assert page["Content-Security-Policy"].count("unsafe") == 0
    asked = options(page, "request_options")
    assert [each["id"] for each in asked["publicKey"]["allowCredentials"]] == [
        websafe_encode(key.id)
    ]
    assert who(client) is None
    sent(client, SECOND, key.get(asked))
    assert who(client) == cast.bo


def test_it_is_listed_renamed_and_removed_by_its_owner(cast: Cast, key: SecurityKey) -> None:
    client = browser()
    sent(client, ALONE, key.get(offered(client)))
    assert b"my key" in client.get("/accounts/2fa/webauthn/").content
    code = Authenticator.objects.get(type="webauthn").pk
    edit, remove = (f"/accounts/2fa/webauthn/keys/{code}/{act}/" for act in ("edit", "remove"))
    again = "/accounts/2fa/webauthn/reauthenticate/"
    assert client.get(edit)["Location"].startswith(AGAIN)
    asked = options(client.get(again), "request_options")
    assert sent(client, again, key.get(asked), next=edit)["Location"] == edit
    client.post(edit, {"name": "the blue one"})
    assert b"the blue one" in client.get("/accounts/2fa/webauthn/").content
    client.post(remove)
    assert not Authenticator.objects.exists()  # and no recovery codes stay behind
    by_key = browser()
    sent(by_key, ALONE, key.get(offered(by_key)))
    assert who(by_key) is None
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="factor.passkey.remove", by=cast.bo).count() == 1


def test_an_answer_opens_once(cast: Cast, key: SecurityKey) -> None:
    client = browser()
    answer = key.get(offered(client))
    sent(client, ALONE, answer)
    client.post("/accounts/sign-out/")
    sent(client, ALONE, answer)
    assert who(client) is None
    offered(client)  # another challenge
    sent(client, ALONE, answer)
    assert who(client) is None


def test_what_another_challenge_site_key_or_purpose_signed_opens_nothing(
    cast: Cast, key: SecurityKey
) -> None:
    for what in (
        {"origin": "https://localhost.evil.example"},
        {"origin": "http://other.localhost"},  # a sibling of the same relying party
        {"origin": "http://localhost:8443"},
        {"relying": "evil.example"},
        {"is_verified": False},  # a touch alone, of a key that somebody found
        {"private": SecurityKey().private},
        {"id": b"x" * 32},
        {"handle": websafe_encode(str(cast.ada.pk).encode())},
        {"handle": websafe_encode(b"\xff\xfe")},
        {"handle": websafe_encode(b"nobody")},
    ):
        hostile = SecurityKey(**{**vars(key), **what})
        client = browser()
        assert sent(client, ALONE, hostile.get(offered(client)))["Location"].endswith("/login/")
        assert who(client) is None, what
    client = browser()
    sent(client, ALONE, key.get(offered(client), kind="webauthn.create"))
    assert who(client) is None
    somebody_elses = offered(browser())
    client = browser()
    offered(client)
    sent(client, ALONE, key.get(somebody_elses))
    assert who(client) is None


def test_a_challenge_for_the_second_factor_lets_no_found_key_in_alone(
    cast: Cast, key: SecurityKey
) -> None:
    """The challenges share a place in the session; the second factor's asks for no verification."""
    mallory, own = browser(), SecurityKey()
    by_password(mallory, "ada@north.example")
    added(mallory, own)
    mallory.post("/accounts/sign-out/")
    by_password(mallory, "ada@north.example")
    asked = options(mallory.get(SECOND), "request_options")
    found = SecurityKey(**vars(key) | {"is_verified": False})
    sent(mallory, ALONE, found.get(asked))
    assert who(mallory) is None


@pytest.mark.parametrize(
    "credential",
    [
        None,
        [],
        {},
        '"x"',
        "no json",
        "[" * 10_000,
        "[" + "1," * 20_000 + "1]",
        7,
        {"id": "x", "rawId": "!!", "response": {}},
        {"id": "eA", "rawId": "eA", "type": "public-key", "response": {"clientDataJSON": "e30"}},
        {"id": "eA", "rawId": "eA", "response": {"attestationObject": broken_attestation()}},
    ],
)
def test_rubbish_is_refused_in_words(cast: Cast, credential: object) -> None:
    client = browser()
    offered(client)
    sent(client, ALONE, credential)
    assert who(client) is None
    page = client.get(SIGN_IN).content
    assert b"did not fit" in page or b"required" in page or b"valid JSON" in page
    by_password(client)
    client.post(AGAIN, {"password": PASSWORD, "next": ADD})
    client.get(ADD)
    assert sent(client, ADD, credential, name="x").status_code == 200
    assert not Authenticator.objects.exists()


def test_a_key_that_verifies_nobody_becomes_no_passkey(cast: Cast) -> None:
    client, key = browser(), SecurityKey(is_verified=False)
    by_password(client)
    assert added(client, key).status_code == 200
    assert not Authenticator.objects.exists()
    assert added(client, key, alone=False).status_code == 302  # after the password it is enough
    client.post("/accounts/sign-out/")
    by_password(client)
    sent(client, SECOND, key.get(options(client.get(SECOND), "request_options")))
    assert who(client) == cast.bo


def test_a_deactivated_persons_passkey_opens_nothing(cast: Cast, key: SecurityKey) -> None:
    User.objects.filter(pk=cast.bo.pk).update(is_active=False)
    client = browser()
    sent(client, ALONE, key.get(offered(client)))
    assert who(client) is None
    assert client.get("/chat/").status_code == 302
