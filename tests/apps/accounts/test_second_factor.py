"""A second factor: set up, asked for, never twice the same, kept under the site key."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.http import HttpResponse
from django.test import Client

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.tenants.scope import tenant_scope
from tests.cast import PASSWORD, Cast

PAGE = "/accounts/sign-in/"
AGAIN = "/accounts/reauthenticate/"
ACTIVATE, AUTHENTICATE = "/accounts/2fa/totp/activate/", "/accounts/2fa/authenticate/"


def sign_in(client: Client, who: str = "bo@north.example") -> HttpResponse:
    return client.post(PAGE, {"username": who, "password": PASSWORD})


@pytest.fixture(autouse=True)
def _patient(settings: Any) -> None:
    """A slow machine may take longer than a code lasts."""
    settings.MFA_TOTP_TOLERANCE = 3


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def set_up(client: Client) -> str:
    """Activate an authenticator app as a person would; its secret."""
    sign_in(client)
    # Whoever finds an open browser does not change how its owner signs in.
    assert client.get(ACTIVATE)["Location"].startswith(AGAIN)
    assert client.post(AGAIN, {"password": "not the password"}).status_code == 200
    client.post(AGAIN, {"password": PASSWORD, "next": ACTIVATE})
    answer = client.get(ACTIVATE)
    found = re.search(r">([A-Z2-7]{32})<", answer.content.decode())
    assert found, (answer.status_code, answer.headers)
    answer = client.post(ACTIVATE, {"code": code_of(found.group(1))})
    assert answer.status_code == 302
    return found.group(1)


@pytest.fixture
def secret(cast: Cast) -> str:
    client = Client()
    found = set_up(client)
    client.post("/accounts/sign-out/")
    return found


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_the_password_alone_is_not_enough_any_more(cast: Cast, secret: str) -> None:
    client = Client()
    with tenant_scope(cast.north):
        before = AuditEvent.objects.filter(action="sign_in").count()
    assert sign_in(client)["Location"].startswith(AUTHENTICATE)
    assert not signed_in(client)
    assert client.get("/accounts/keys/").status_code == 302
    assert "Incorrect code" in client.post(AUTHENTICATE, {"code": "000000"}).content.decode()
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="sign_in").count() == before
    client.post(AUTHENTICATE, {"code": code_of(secret)})
    assert signed_in(client)
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="sign_in").count() == before + 1


def test_a_code_opens_once(cast: Cast, secret: str) -> None:
    code = code_of(secret)
    for is_open in (True, False):
        client = Client()
        sign_in(client)
        client.post(AUTHENTICATE, {"code": code})
        assert signed_in(client) is is_open


def test_the_secret_lies_in_the_database_only_sealed(cast: Cast, secret: str) -> None:
    told = str(Authenticator.objects.get(type="totp").data)
    assert secret not in told
    assert "file:" in told


def test_where_the_tenant_wants_it_nobody_goes_on_without(cast: Cast) -> None:
    cast.north.settings = {"require_mfa": True}
    cast.north.save()
    client = Client()
    sign_in(client)
    assert client.get("/chat/")["Location"] == "/accounts/2fa/"
    page = client.get("/accounts/2fa/")
    assert page.status_code == 200
    assert "script-src 'self'" in page["Content-Security-Policy"]
    set_up(client)
    assert client.get("/chat/").status_code == 200


def test_sessions_are_listed_and_end_with_the_account(cast: Cast) -> None:
    here, there = Client(), Client()
    sign_in(here)
    sign_in(there)
    assert here.get("/accounts/sessions/").content.decode().count("<tr") >= 3
    here.post("/accounts/sessions/")  # ends all others
    assert there.get("/chat/").status_code == 302
    assert here.get("/chat/").status_code == 200
    User.objects.filter(pk=cast.bo.pk).update(is_active=False)
    assert here.get("/chat/").status_code == 302


def test_nobody_signs_up_by_themselves(cast: Cast) -> None:
    for address in ("/accounts/signup/", "/accounts/password/reset/", "/accounts/email/"):
        assert Client().get(address).status_code == 404
