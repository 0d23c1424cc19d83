"""Keys for programs: shown once, never wider than their owner, ended at once."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.actions import invite, issue_key, key_from, open_tenant, remove, revoke_key
from apps.accounts.models import ApiKey, User
from apps.tenants.models import Membership, Role
from calm_engine.errors import InputError
from tests.cast import PASSWORD, Cast


def test_a_key_is_shown_once_and_kept_as_a_digest(cast: Cast) -> None:
    client = cast.client(cast.bo)
    page = client.post("/accounts/keys/", {"name": "script"}).content.decode()
    found = re.search(r"cp_[0-9a-f]{12}_[\w-]{43}", page)
    assert found
    secret = found.group()
    assert secret not in client.get("/accounts/keys/").content.decode()
    key = ApiKey.objects.get()
    assert secret.split("_", 2)[2] not in str(vars(key))
    assert key_from(secret) == key


def test_a_key_of_somebody_else_is_not_listed(cast: Cast) -> None:
    issue_key(cast.ada, cast.north, "adas script")
    assert "adas script" not in cast.client(cast.bo).get("/accounts/keys/").content.decode()


@pytest.mark.parametrize("wrong", ["", "cp_", "cp_x_y", "Bearer cp", "sk-123", "cp_\x00_y"])
def test_what_is_no_key_opens_nothing(cast: Cast, wrong: str) -> None:
    issue_key(cast.ada, cast.north, "script")
    assert key_from(wrong) is None


def test_a_wrong_secret_behind_a_right_prefix_opens_nothing(cast: Cast) -> None:
    key, secret = issue_key(cast.ada, cast.north, "script")
    assert key_from(f"cp_{key.prefix}_wrong") is None
    assert key_from(secret[:-1]) is None
    assert key_from(secret) == key


def test_revoked_expired_and_orphaned_keys_open_nothing(cast: Cast) -> None:
    key, secret = issue_key(cast.ada, cast.north, "script")
    revoke_key(key, by=cast.ada)
    assert key_from(secret) is None

    key, secret = issue_key(cast.ada, cast.north, "script")
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert key_from(secret) is None

    _, secret = issue_key(cast.bo, cast.north, "script")
    remove(cast.north, cast.bo, by=cast.ada)
    assert key_from(secret) is None

    _, secret = issue_key(cast.otto, cast.north, "script")
    User.objects.filter(pk=cast.otto.pk).update(is_active=False)
    assert key_from(secret) is None


def test_last_use_is_told(cast: Cast) -> None:
    key, secret = issue_key(cast.ada, cast.north, "script")
    assert key.last_used_at is None
    key_from(secret)
    key.refresh_from_db()
    assert key.last_used_at is not None


def test_revoking_on_the_page_ends_the_key(cast: Cast) -> None:
    key, secret = issue_key(cast.bo, cast.north, "script")
    client = cast.client(cast.bo)
    assert cast.client(cast.ada).post(f"/accounts/keys/{key.pk}/revoke").status_code == 404
    assert client.post(f"/accounts/keys/{key.pk}/revoke").status_code == 302
    assert key_from(secret) is None


def test_a_curator_adds_and_removes_people(cast: Cast) -> None:
    client = cast.client(cast.ada)
    told = {"name": "Dee", "email": "dee@north.example", "role": "employee", "password": PASSWORD}
    assert client.post("/accounts/people/", told).status_code == 302
    membership = Membership.objects.get(user__email="dee@north.example")
    assert (membership.tenant, membership.role) == (cast.north, Role.EMPLOYEE)
    assert "Dee" in client.get("/accounts/people/").content.decode()
    assert "Cy Moor" not in client.get("/accounts/people/").content.decode()
    client.post(f"/accounts/people/{membership.pk}/remove")
    assert not Membership.objects.filter(pk=membership.pk).exists()


def test_nobody_removes_themselves(cast: Cast) -> None:
    mine = Membership.objects.get(user=cast.ada)
    cast.client(cast.ada).post(f"/accounts/people/{mine.pk}/remove")
    assert Membership.objects.filter(pk=mine.pk).exists()


def test_an_employee_is_told_which_role_is_lacking(cast: Cast) -> None:
    response = cast.client(cast.bo).get("/accounts/people/")
    assert response.status_code == 403
    assert "needs the role curator in North; yours is employee" in response.content.decode()


def test_a_weak_password_is_refused_in_the_field(cast: Cast) -> None:
    told = {"name": "Dee", "email": "dee@north.example", "role": "employee"}
    page = cast.client(cast.ada).post("/accounts/people/", told | {"password": "password1234"})
    assert "too common" in page.content.decode()
    assert not User.objects.filter(email="dee@north.example").exists()


def test_somebody_known_keeps_their_password_and_gets_the_role(cast: Cast) -> None:
    invite(cast.north, "CY@south.example", "Cy", Role.AUDITOR, "another long password")
    cy = User.objects.get(email="cy@south.example")
    assert cy.check_password(PASSWORD)
    assert {m.role for m in cy.memberships.all()} == {Role.CURATOR, Role.AUDITOR}


def test_a_short_name_is_one_tenants(cast: Cast) -> None:
    with pytest.raises(InputError, match=r"tenant\.slug_taken"):
        open_tenant("Another North", "north")


@pytest.mark.parametrize("twin", ["\N{CYRILLIC SMALL LETTER O}", "\N{KELVIN SIGN}"])
def test_a_twin_of_an_address_is_invited_by_nobody(cast: Cast, twin: str) -> None:
    told = {"name": "Bo", "email": f"b{twin}@north.example", "role": "employee"}
    page = cast.client(cast.ada).post("/accounts/people/", told | {"password": PASSWORD})
    assert page.status_code == 200
    assert User.objects.filter(email__startswith="b").count() == 1
