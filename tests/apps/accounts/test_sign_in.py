"""Getting in, staying out, and being locked out."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_scope
from tests.cast import PASSWORD, Cast

PAGE = "/accounts/sign-in/"


def attempt(client: Client, password: str = PASSWORD, **more: str) -> HttpResponse:
    return client.post(PAGE, {"username": "bo@north.example", "password": password} | more)


def test_the_right_password_leads_home_and_is_told_to_the_log(cast: Cast, client: Client) -> None:
    response = attempt(client)
    assert response.headers["Location"] == "/"
    assert client.session["_auth_user_id"] == str(cast.bo.pk)
    with tenant_scope(cast.north):
        assert AuditEvent.objects.get(action="sign_in").by == cast.bo


def test_an_address_is_the_same_however_it_is_written(cast: Cast, client: Client) -> None:
    client.post(PAGE, {"username": "Bo@North.Example", "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(cast.bo.pk)


def test_wrong_and_unknown_are_told_apart_by_nobody(cast: Cast, client: Client) -> None:
    wrong = attempt(client, "not the password")
    unknown = client.post(PAGE, {"username": "no@where.example", "password": "not the password"})
    for response in (wrong, unknown):
        assert response.status_code == 200
        assert "do not belong together" in response.content.decode()
    assert "_auth_user_id" not in client.session


def test_five_wrong_passwords_lock_the_address_out_even_with_the_right_one(
    cast: Cast, client: Client
) -> None:
    for _ in range(5):
        attempt(client, "not the password")
    locked = attempt(client)
    assert locked.status_code == 429
    assert "15 minutes" in locked.content.decode()
    assert "_auth_user_id" not in client.session
    assert (
        Client().post(PAGE, {"username": "ada@north.example", "password": PASSWORD}).status_code
        == 302
    )


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:1"])
def test_nobody_is_led_elsewhere(cast: Cast, client: Client, elsewhere: str) -> None:
    response = attempt(client, next=elsewhere)
    assert response.headers["Location"] == "/"
    assert attempt(Client(), next="/chat/").headers["Location"] == "/chat/"


def test_signing_out_ends_the_session(cast: Cast) -> None:
    client = cast.client(cast.ada)
    assert client.get(PAGE).headers["Location"] == "/"
    assert client.post("/accounts/sign-out/").headers["Location"] == PAGE
    assert client.get("/accounts/keys/").status_code == 302


def test_somebody_deactivated_is_out_at_once(cast: Cast) -> None:
    client = cast.client(cast.bo)
    assert client.get("/accounts/keys/").status_code == 200
    User.objects.filter(pk=cast.bo.pk).update(is_active=False)
    assert client.get("/accounts/keys/").status_code == 302


def test_passwords_are_kept_by_argon2(db: None, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    user = User.objects.create_user("Dee@north.example", PASSWORD, name="Dee")
    assert user.password.startswith("argon2$argon2id$")
    assert user.check_password(PASSWORD)
    assert user.email == "dee@north.example"


def test_somebody_in_two_tenants_acts_in_one_at_a_time(cast: Cast) -> None:
    Membership.objects.create(tenant=cast.south, user=cast.ada, role=Role.AUDITOR)
    client = cast.client(cast.ada)
    assert "North" in client.get("/").content.decode()
    assert client.post(f"/accounts/tenants/{cast.south.pk}/switch").headers["Location"] == "/"
    page = client.get("/").content.decode()
    assert "South" in page
    assert "Open the audit log" in page
    Membership.objects.filter(tenant=cast.south, user=cast.ada).delete()
    assert "North" in client.get("/").content.decode()


def test_somebody_without_a_tenant_is_told_so(db: None, client: Client) -> None:
    client.force_login(
        User.objects.create_user("dee@north.example", PASSWORD),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    response = client.get("/")
    assert response.status_code == 403
    assert "belong to no organisation" in response.content.decode()
