"""Signing in at the organisation's own provider: a real one, speaking HTTP on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import oidc_provider_mock
import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from oidc_provider_mock import User as Subject

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.tenants.models import Group, GroupMember, Membership, Role
from apps.tenants.scope import tenant_scope
from tests.cast import Cast

# The provider's own use of its library is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LOGIN = "/accounts/oidc/sso/login/"
DEE = {"email": "dee@north.example", "email_verified": True, "name": "Dee Roth"}


@contextmanager
def provider(settings: Any, *people: Subject) -> Iterator[None]:
    """A provider that knows these people, and a site that trusts it."""
    with oidc_provider_mock.run_server_in_thread(user_claims=people) as server:
        app = {
            "provider_id": "sso",
            "name": "North",
            "client_id": "counterpoint",
            "secret": "a secret",
            "settings": {"server_url": f"http://localhost:{server.server_port}"},
        }
        settings.OIDC_APPS = [app]
        settings.SOCIALACCOUNT_PROVIDERS = {
            "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}
        }
        yield


def come(client: Client, sub: str) -> HttpResponse:
    """Go to the provider, be this person there, and come back."""
    there = client.get(LOGIN)
    assert there.status_code == 302, there.content
    answer = httpx.post(there["Location"], data={"sub": sub}, trust_env=False)
    assert answer.status_code == 302, answer.text
    back = urlsplit(answer.headers["Location"])
    return client.get(f"{back.path}?{back.query}")


def signed_in_as(client: Client) -> User | None:
    return User.objects.filter(pk=client.session.get("_auth_user_id")).first()


def test_somebody_new_with_a_verified_address_joins_the_sites_tenant(
    cast: Cast, settings: Any
) -> None:
    settings.SSO_TENANT = "north"
    with provider(settings, Subject(sub="dee-1", claims=DEE)):
        client = Client()
        assert b"Sign in with North" in client.get("/accounts/sign-in/").content
        come(client, "dee-1")
        dee = signed_in_as(client)
        assert dee is not None
        assert (dee.email, dee.name, dee.has_usable_password()) == (
            "dee@north.example",
            "Dee Roth",
            False,
        )
        assert Membership.objects.get(user=dee).role == Role.EMPLOYEE
        assert client.get("/chat/").status_code == 200
        with tenant_scope(cast.north):
            assert AuditEvent.objects.filter(action="sign_in", by=dee).count() == 1
        again = Client()
        come(again, "dee-1")
        assert signed_in_as(again) == dee


@pytest.mark.parametrize(
    ("claims", "tenant"),
    [
        (DEE | {"email_verified": False}, "north"),
        ({"name": "Dee Roth"}, "north"),
        (DEE, ""),
    ],
)
def test_somebody_unverified_or_uninvited_is_turned_away_in_words(
    cast: Cast, settings: Any, claims: dict[str, object], tenant: str
) -> None:
    settings.SSO_TENANT = tenant
    with provider(settings, Subject(sub="dee-1", claims=claims)):
        client = Client()
        assert come(client, "dee-1")["Location"] == "/accounts/sign-in/"
        assert b"Ask a curator to add you" in client.get("/accounts/sign-in/").content
        assert signed_in_as(client) is None
        assert not User.objects.filter(name="Dee Roth").exists()


def test_an_address_alone_takes_over_nobodys_account(cast: Cast, settings: Any) -> None:
    settings.SSO_TENANT = "north"
    claims = {"email": "ada@north.example", "email_verified": True}
    with provider(settings, Subject(sub="mallory", claims=claims)):
        client = Client()
        come(client, "mallory")
        assert signed_in_as(client) is None  # ada signs in with a password of her own


def test_an_account_that_the_directory_made_is_met_and_then_bound_to_the_subject(
    cast: Cast, settings: Any
) -> None:
    dee = User.objects.create_user("dee@north.example", name="Dee")
    Membership.objects.create(tenant=cast.north, user=dee, role=Role.CURATOR)
    with provider(settings, Subject(sub="dee-1", claims=DEE), Subject(sub="other", claims=DEE)):
        client = Client()
        come(client, "dee-1")
        assert signed_in_as(client) == dee
        assert Membership.objects.get(user=dee).role == Role.CURATOR
        User.objects.filter(pk=dee.pk).update(email="renamed@north.example")
        again = Client()
        come(again, "dee-1")
        assert signed_in_as(again) == dee  # by subject, whatever the address is now


def test_groups_follow_the_provider_and_those_kept_by_hand_do_not(
    cast: Cast, settings: Any
) -> None:
    settings.SSO_TENANT = "north"
    twin = "S\N{CYRILLIC SMALL LETTER A}les"  # looks the same, and is another name
    with tenant_scope(cast.north):
        for name, follows in (("Sales", True), ("Legal", True), ("By hand", False)):
            Group.objects.create(name=name, follows_provider=follows)
    many = [f"nobody {number}" for number in range(10_000)]
    with provider(
        settings,
        Subject(sub="dee-1", claims=DEE | {"groups": [*many, "Legal", twin, "By hand"]}),
    ):
        client = Client()
        with CaptureQueriesContext(connection) as asked:
            come(client, "dee-1")
        assert len(asked) < 100  # a hundredth of a query for each name
    dee = User.objects.get(email="dee@north.example")
    with tenant_scope(cast.north):
        mine = GroupMember.objects.filter(user=dee).values_list("group__name", flat=True)
        assert list(mine) == ["Legal"]
        GroupMember.objects.create(group=Group.objects.get(name="By hand"), user=dee)
    with provider(settings, Subject(sub="dee-1", claims=DEE | {"groups": ["Sales"]})):
        come(Client(), "dee-1")
    with tenant_scope(cast.north):
        mine = GroupMember.objects.filter(user=dee).values_list("group__name", flat=True)
        assert sorted(mine) == ["By hand", "Sales"]


def test_a_deactivated_person_is_not_let_back_in_by_the_provider(cast: Cast, settings: Any) -> None:
    settings.SSO_TENANT = "north"
    with provider(settings, Subject(sub="dee-1", claims=DEE)):
        come(Client(), "dee-1")
        User.objects.filter(email="dee@north.example").update(is_active=False)
        client = Client()
        come(client, "dee-1")
        assert signed_in_as(client) is None


def test_a_code_that_was_used_and_a_foreign_state_open_nothing(cast: Cast, settings: Any) -> None:
    settings.SSO_TENANT = "north"
    with provider(settings, Subject(sub="dee-1", claims=DEE)):
        victim = Client()
        there = victim.get(LOGIN)
        answer = httpx.post(there["Location"], data={"sub": "dee-1"}, trust_env=False)
        back = urlsplit(answer.headers["Location"])
        mallory = Client()
        mallory.get(f"{back.path}?{back.query}")  # somebody else's answer
        assert signed_in_as(mallory) is None
        victim.get(f"{back.path}?{back.query}")
        assert signed_in_as(victim) is not None
        victim.post("/accounts/sign-out/")
        victim.get(f"{back.path}?{back.query}")  # once more
        assert signed_in_as(victim) is None


def test_a_provider_that_is_away_is_told_and_nobody_is_in(cast: Cast, settings: Any) -> None:
    with provider(settings, Subject(sub="dee-1", claims=DEE)):
        pass
    client = Client()
    assert client.get(LOGIN)["Location"] == "/accounts/sign-in/"
    assert b"did not answer as it should" in client.get("/accounts/sign-in/").content
    assert signed_in_as(client) is None
