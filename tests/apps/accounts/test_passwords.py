"""Passwords: changed by whoever knows them, renewed by a curator, free of names that all know."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.actions import invite, renew_password
from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.cast import PASSWORD, Cast

PAGE = "/accounts/password/"
ANOTHER = "ünder  two bridges. " * 5  # a hundred signs, spaces and all


def come(email: str, password: str) -> Client:
    client = Client()
    client.post("/accounts/sign-in/", {"username": email, "password": password})
    return client


def change(client: Client, old: str, new: str) -> str:
    sent = {"oldpassword": old, "password1": new, "password2": new}
    return client.post(PAGE, sent, follow=True).content.decode()


def is_in(client: Client) -> bool:
    return client.get("/chat/").status_code == 200


def test_a_password_is_changed_by_whoever_knows_it(cast: Cast) -> None:
    client = come("bo@north.example", PASSWORD)
    page = client.get(PAGE).content.decode()
    assert page.count('type="password"') == 3
    assert 'autocomplete="current-password"' in page
    change(client, "not the present one", ANOTHER)
    assert not is_in(come("bo@north.example", ANOTHER))
    change(client, PASSWORD, ANOTHER)
    assert is_in(client)
    assert is_in(come("bo@north.example", ANOTHER))
    assert not is_in(come("bo@north.example", ANOTHER.strip()))  # as it was typed
    assert not is_in(come("bo@north.example", PASSWORD))
    with tenant_scope(cast.north):
        assert AuditEvent.objects.get(action="password.change").by == cast.bo


def test_a_changed_password_ends_every_other_session(cast: Cast) -> None:
    here, there = come("bo@north.example", PASSWORD), come("bo@north.example", PASSWORD)
    change(here, PASSWORD, ANOTHER)
    assert is_in(here)
    assert not is_in(there)


def test_guessing_the_present_password_ends_somewhere(cast: Cast) -> None:
    client = come("bo@north.example", PASSWORD)
    sent = {"oldpassword": "guess", "password1": ANOTHER, "password2": ANOTHER}
    answers = [client.post(PAGE, sent).status_code for _guess in range(12)]
    assert answers[-1] == 429


@pytest.mark.parametrize("word", ["counterpoint", "North", "NORTHERN"])
def test_a_password_that_holds_our_names_is_refused(cast: Cast, word: str) -> None:
    with pytest.raises(InputError, match=r"guessed first"):
        invite(cast.north, "new@north.example", "New", Role.EMPLOYEE, f"wade {word} herons")
    page = change(come("bo@north.example", PASSWORD), PASSWORD, f"wade {word} herons")
    assert "guessed first" in page
    invite(cast.south, "new@south.example", "New", Role.EMPLOYEE, "wade norther herons")


def test_a_password_that_somebody_else_chose_opens_only_the_page_that_changes_it(
    cast: Cast,
) -> None:
    invite(cast.north, "new@north.example", "New", Role.EMPLOYEE, PASSWORD, by=cast.ada)
    client = come("new@north.example", PASSWORD)
    for place in ("/", "/chat/", "/models/", "/accounts/keys/"):
        assert client.get(place)["Location"] == PAGE
    assert "Somebody else chose" in client.get(PAGE).content.decode()
    change(client, PASSWORD, ANOTHER)
    assert is_in(client)


def test_a_curator_renews_a_forgotten_password(cast: Cast) -> None:
    before = come("bo@north.example", PASSWORD)
    theirs = Membership.objects.get(user=cast.bo)
    answer = cast.client(cast.ada).post(f"/accounts/people/{theirs.pk}/password")
    drawn = answer.content.decode().partition('dir="ltr">')[2].partition("<")[0]
    assert not is_in(before)
    client = come("bo@north.example", drawn)
    assert client.get("/chat/")["Location"] == PAGE
    change(client, drawn, ANOTHER)
    assert is_in(client)
    with tenant_scope(cast.north):
        assert AuditEvent.objects.get(action="password.renew").by == cast.ada


@pytest.mark.parametrize("why", ["belongs elsewhere too", "has none", "is no member"])
def test_only_this_tenants_own_passwords_are_renewed(cast: Cast, why: str) -> None:
    person: User = cast.cy if why == "is no member" else cast.bo
    if why == "belongs elsewhere too":
        Membership.objects.create(tenant=cast.south, user=person, role=Role.EMPLOYEE)
    if why == "has none":
        person.set_unusable_password()
        person.save()
    before = User.objects.get(pk=person.pk).password
    with pytest.raises(InputError, match=r"password\.elsewhere"):
        renew_password(cast.north, person, by=cast.ada)
    assert User.objects.get(pk=person.pk).password == before


def test_whoever_has_no_password_is_told_so(cast: Cast) -> None:
    cast.bo.set_unusable_password()
    cast.bo.save()
    client = cast.client(cast.bo)
    assert "there is none to change" in client.get(PAGE, follow=True).content.decode()
