"""People sign in by their own provider alone; on the day it is away, one account still gets in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.tenants.models import Membership, Role, Tenant
from apps.tenants.scope import tenant_scope
from tests.apps.accounts.identity_provider import IdentityProvider, running
from tests.apps.accounts.test_saml import DEE, both, come, entry, trust, who
from tests.cast import PASSWORD, Cast

NUMBERS = {
    "conversation_days": 0,
    "least_recall": 50,
    "least_private": 0,
    "most_public_lost": 1,
    "most_verbatim": 100,
    "most_canaries": 100,
    "most_other_corpus": 100,
}
RULES, WAY = "/accounts/rules/", "/accounts/by-provider/"


@pytest.fixture
def north(settings: Any, tmp_path: Path) -> Iterator[IdentityProvider]:
    with running(IdentityProvider("north", {"dee-1": DEE})) as provider:
        trust(settings, tmp_path, {"north": entry(provider, tmp_path)})
        yield provider


def strict(cast: Cast, *emergency: User) -> None:
    """North lets in whoever comes from its provider, and these."""
    named = [str(each.pk) for each in emergency]
    Tenant.objects.filter(pk=cast.north.pk).update(settings={"sso_only": True, "emergency": named})


def with_factor(user: User) -> str:
    """An authenticator app and recovery codes; one of the codes."""
    TOTP.activate(user, generate_totp_secret())
    code: str = RecoveryCodes.activate(user).get_unused_codes()[0]
    return code


def by_password(user: User, code: str = "") -> Client:
    client = Client()
    client.post("/accounts/sign-in/", {"username": user.email, "password": PASSWORD})
    if code:
        client.post("/accounts/2fa/authenticate/", {"code": code})
    return client


def test_a_password_opens_nothing_where_the_provider_is_the_way(
    cast: Cast, north: IdentityProvider
) -> None:
    strict(cast, cast.ada)
    bo = by_password(cast.bo)
    for page in ("/chat/", "/models/", "/accounts/keys/"):
        assert bo.get(page)["Location"] == WAY
    assert b"/accounts/saml/north/login/" in bo.get(WAY).content
    dee = Client()
    come(dee)
    assert dee.get("/chat/").status_code == 200


def test_the_emergency_account_comes_in_while_the_provider_is_away_and_is_told(
    cast: Cast, settings: Any, tmp_path: Path
) -> None:
    with running(IdentityProvider("north", {})) as provider:
        trust(settings, tmp_path, {"north": entry(provider, tmp_path)})
    strict(cast, cast.ada)
    bare = by_password(cast.ada)
    assert bare.get("/corpora/")["Location"] == "/accounts/2fa/"  # a password alone is not enough
    ada = by_password(cast.ada, with_factor(cast.ada))
    assert ada.get("/corpora/").status_code == 200
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="emergency.sign_in", by=cast.ada).count() == 2
        assert not AuditEvent.objects.filter(action="emergency.sign_in", by=cast.bo).exists()


def test_another_tenants_provider_is_not_this_ones(
    cast: Cast, settings: Any, tmp_path: Path
) -> None:
    with both(settings, tmp_path, {}, {"eve": {"email": ["eve@south.example"]}}):
        strict(cast, cast.ada)
        client = Client()
        come(client, "eve", "south")
        eve = who(client)
        assert eve is not None
        assert client.get("/chat/").status_code == 200
        Membership.objects.create(tenant=cast.north, user=eve, role=Role.CURATOR)
        client.post(f"/accounts/tenants/{cast.north.pk}/switch")
        session = client.session
        session["tenant"] = str(cast.north.pk)
        session.save()
        assert client.get("/chat/")["Location"] == WAY
        Tenant.objects.filter(pk=cast.north.pk).update(settings={"require_mfa": True})
        assert client.get("/chat/")["Location"] == "/accounts/2fa/"  # asked there is not asked here


def saved(client: Client, **told: object) -> str:
    answer = client.post(RULES, NUMBERS | told)
    return answer.content.decode() if answer.status_code == 200 else ""


def test_nobody_locks_themselves_out_by_a_rule(cast: Cast, settings: Any, tmp_path: Path) -> None:
    ada = cast.client(cast.ada)
    named = {"emergency": [str(cast.ada.pk)]}
    assert "no provider is set up" in saved(ada, sso_only="on", **named)
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(running(IdentityProvider("north", {})))
        trust(settings, tmp_path, {"north": entry(provider, tmp_path)})
        assert "Name an emergency account" in saved(ada, sso_only="on")
        assert "has no second factor" in saved(ada, sso_only="on", **named)
        assert "valid choice" in saved(ada, sso_only="on", emergency=[str(cast.cy.pk)])
        assert "valid choice" in saved(ada, sso_only="on", emergency=[str(cast.bo.pk)])
        with_factor(cast.ada)
        assert saved(ada, sso_only="on", **named) == ""
    cast.north.refresh_from_db()
    assert cast.north.settings["sso_only"] is True
    assert ada.get("/corpora/").status_code == 200
    with tenant_scope(cast.north):
        assert "emergency" in AuditEvent.objects.get(action="policy.change").facts["after"]
