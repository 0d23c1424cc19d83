"""Sessions end after silence, after their hours, by a curator, and leave nothing in a browser."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import Client

from apps.accounts import sessions
from apps.audit.models import AuditEvent
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_scope
from tests.apps.accounts.test_passwords import come, is_in
from tests.cast import PASSWORD, Cast


def ago(client: Client, began: int, seen: int) -> None:
    """As if somebody had signed in, and last asked, so many seconds before."""
    session, now = client.session, int(time.time())
    session[sessions.CLOCK] = [now - began, now - seen]
    session.save()


@pytest.mark.parametrize(
    ("began", "seen", "lasts"),
    [(30, 30, True), (7100, 7100, True), (7300, 7300, False), (43300, 10, False)],
)
def test_a_session_ends_after_silence_and_after_its_hours(
    cast: Cast, began: int, seen: int, lasts: bool
) -> None:
    client = come("bo@north.example", PASSWORD)
    ago(client, began, seen)
    assert is_in(client) is lasts
    if lasts:  # and whoever asks goes on
        assert time.time() - client.session[sessions.CLOCK][1] <= sessions.TOLD_EVERY
    else:
        assert "signed out after a while" in client.get("/accounts/sign-in/").content.decode()


def test_silence_ends_nothing_where_the_site_says_so(cast: Cast, settings: Any) -> None:
    settings.SESSION_IDLE_SECONDS = 0
    client = come("bo@north.example", PASSWORD)
    ago(client, 40_000, 40_000)
    assert is_in(client)


def test_signing_in_draws_another_session(cast: Cast) -> None:
    client = Client()
    client.get("/accounts/sign-in/?next=/chat/")
    client.session.save()
    before = client.session.session_key
    client.post("/accounts/sign-in/", {"username": "bo@north.example", "password": PASSWORD})
    assert is_in(client)
    assert client.session.session_key not in (None, before)


def test_a_curator_ends_the_sessions_of_a_person(cast: Cast) -> None:
    one, two = come("bo@north.example", PASSWORD), come("bo@north.example", PASSWORD)
    assert is_in(one)
    assert is_in(two)
    theirs = Membership.objects.get(user=cast.bo)
    address = f"/accounts/people/{theirs.pk}/sign-out"
    assert cast.client(cast.otto).post(address).status_code == 403
    page = cast.client(cast.ada).post(address, follow=True).content.decode()
    assert "2 sessions ended" in page
    assert not is_in(one)
    assert not is_in(two)
    with tenant_scope(cast.north):
        line = AuditEvent.objects.filter(action="sign_out").latest("sequence")
        assert line.by == cast.ada
    assert is_in(come("bo@north.example", PASSWORD))  # what they may do stays theirs


def test_pages_of_people_are_kept_by_no_cache(cast: Cast) -> None:
    client = cast.client(cast.ada)
    for place in ("/", "/chat/", "/corpora/", "/accounts/people/", "/nowhere/"):
        assert "no-store" in client.get(place)["Cache-Control"], place
    cleared = client.post("/accounts/sign-out/")["Clear-Site-Data"]
    assert cleared == '"cache", "storage"'


def test_a_refused_sign_in_is_a_line_without_the_address(cast: Cast, caplog: Any) -> None:
    for password in ["not the password"] * 6:
        come("bo@north.example", password)
    ours = [str(each.msg) for each in caplog.records if each.name == "apps.accounts.views"]
    assert sum("sign_in.refused" in line for line in ours) >= 4
    assert any("sign_in.locked" in line for line in ours)
    assert "bo@north.example" not in " ".join(ours)
