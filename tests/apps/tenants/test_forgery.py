"""Nothing that a browser or a program sends chooses its tenant: only who they are does."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from apps.accounts.actions import issue_key
from tests.cast import Cast

NAMES = ("X-Tenant", "X-Tenant-Id", "Tenant", "X-Organization", "X-Forwarded-Tenant")
PEOPLE = ("Remote-User", "X-Forwarded-User", "X-Remote-User", "X-Forwarded-Email")


def forged(cast: Cast) -> dict[str, str]:
    """Headers that other products believe."""
    north = {name: str(cast.north.pk) for name in NAMES}
    return north | dict.fromkeys(PEOPLE, cast.ada.email) | {"X-Forwarded-For": "127.0.0.1"}


def test_forged_headers_cookies_and_fields_show_no_other_tenant(cast: Cast) -> None:
    client = cast.client(cast.cy)
    plain = client.get("/accounts/people/").content
    for name in ("tenant", "tenant_id", "app.tenant"):
        client.cookies[name] = str(cast.north.pk)
    asked = {"tenant": str(cast.north.pk), "tenant_id": str(cast.north.pk)}
    found = client.get("/accounts/people/", asked, headers=forged(cast)).content
    assert b"cy@south.example" in found
    assert b"north.example" not in found
    assert found.count(b"@") == plain.count(b"@")  # as many people; the page may echo its address


def test_a_tenant_in_the_session_counts_only_for_its_members(cast: Cast) -> None:
    client = cast.client(cast.cy)
    session = client.session
    session["tenant"] = str(cast.north.pk)  # as if they had belonged there once
    session.save()
    found = client.get("/accounts/people/").content
    assert b"cy@south.example" in found
    assert b"north.example" not in found


def test_forged_headers_make_nobody_somebody(cast: Cast) -> None:
    for path in ("/accounts/people/", "/chat/", "/audit/"):
        answer = Client().get(path, headers=forged(cast))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/sign-in/")


@pytest.mark.django_db(transaction=True)
def test_a_program_is_in_the_tenant_of_its_key_whatever_it_says(cast: Cast) -> None:
    _, secret = issue_key(cast.cy, cast.south, "script", scopes=["scim"])
    head = forged(cast) | {"Authorization": f"Bearer {secret}"}
    answer = Client().get("/scim/v2/Groups", {"tenant": str(cast.north.pk)}, headers=head)
    assert answer.status_code == 200
    assert json.loads(answer.content)["totalResults"] == 0
    wrong = Client().get(f"/scim/v2/Users/{cast.bo.pk}", headers=head)
    assert wrong.status_code == 404
