"""Signing in by SAML at a real provider on this machine, and the answers that are not believed."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from allauth.socialaccount.models import SocialAccount
from django.http import HttpResponse
from django.test import Client
from lxml import etree

from apps.accounts.actions import remove
from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.tenants.models import Group, GroupMember, Membership, Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint import samlfile
from tests.apps.accounts.identity_provider import (
    NAMES,
    Answer,
    IdentityProvider,
    keys,
    running,
    sign,
)
from tests.cast import Cast

DEE = {"email": ["dee@north.example"], "displayName": ["Dee Roth"], "groups": ["Legal"]}
FIELD = re.compile(r'action="([^"]+)"><input name="SAMLResponse" value="([^"]+)"')
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
ADDRESS = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"


def entry(provider: IdentityProvider, folder: Path, **more: Any) -> dict[str, Any]:
    """What IT writes about a provider, its certificate beside it."""
    name = f"{provider.name}.pem"
    (folder / name).write_bytes(keys(provider.name)[1])
    return {
        "entity_id": provider.entity,
        "sso_url": f"http://127.0.0.1:{provider.port}/sso",
        "certificates": [name],
        "domains": [f"{provider.name}.example"],
        **more,
    }


def trust(settings: Any, folder: Path, told: dict[str, Any]) -> None:
    """Start the site with this file, as far as this process is concerned."""
    (folder / "saml.json").write_text(json.dumps(told))
    settings.SAML_APPS = samlfile.apps(str(folder / "saml.json"))
    settings.SOCIALACCOUNT_PROVIDERS = {"saml": {"APPS": settings.SAML_APPS}}


@pytest.fixture
def north(settings: Any, tmp_path: Path) -> Iterator[IdentityProvider]:
    """North's provider, which knows Dee, and a site that trusts it."""
    with running(IdentityProvider("north", {"dee-1": DEE})) as provider:
        trust(settings, tmp_path, {"north": entry(provider, tmp_path, name="North")})
        yield provider


@contextlib.contextmanager
def both(settings: Any, folder: Path, *people: dict[str, Any]) -> Iterator[list[IdentityProvider]]:
    """North's provider and South's, each for its own tenant."""
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(running(IdentityProvider(name, known)))
            for name, known in zip(("north", "south"), people, strict=True)
        ]
        trust(settings, folder, {each.name: entry(each, folder) for each in made})
        yield made


def asked_at(client: Client, subject: str, tenant: str = "north", **query: str) -> tuple[str, str]:
    """Go to the provider and be this person there: where the answer goes, and the answer."""
    there = client.get(f"/accounts/saml/{tenant}/login/", query)
    assert there.status_code == 302, there.content
    page = httpx.get(f"{there['Location']}&sub={subject}", trust_env=False).text
    found = FIELD.search(page)
    assert found, page
    return urlsplit(found[1]).path, found[2]


def brought(client: Client, where: str, answer: str) -> HttpResponse:
    """Bring an answer back, as a form of another site does, and follow."""
    there = Client().post(where, {"SAMLResponse": answer})  # without the session's cookie
    assert there.status_code == 302
    if there["Location"] == "/accounts/sign-in/":
        return there
    return client.get(there["Location"])


def come(client: Client, subject: str = "dee-1", tenant: str = "north", **query: str) -> Any:
    return brought(client, *asked_at(client, subject, tenant, **query))


def who(client: Client) -> User | None:
    return User.objects.filter(pk=client.session.get("_auth_user_id")).first()


def groups_of(cast: Cast, user: User) -> list[str]:
    with tenant_scope(cast.north):
        mine = GroupMember.objects.filter(user=user).values_list("group__name", flat=True)
        return sorted(mine)


def test_somebody_new_joins_the_providers_tenant_with_its_groups(
    cast: Cast, north: IdentityProvider
) -> None:
    with tenant_scope(cast.north):
        for name, follows in (("Legal", True), ("Sales", True), ("By hand", False)):
            Group.objects.create(name=name, follows_provider=follows)
    client = Client()
    assert b"Sign in with North" in client.get("/accounts/sign-in/").content
    assert come(client, next="/models/")["Location"] == "/models/"
    dee = who(client)
    assert dee is not None
    told = (dee.email, dee.name, dee.has_usable_password())
    assert told == ("dee@north.example", "Dee Roth", False)
    assert Membership.objects.get(user=dee).role == Role.EMPLOYEE
    assert groups_of(cast, dee) == ["Legal"]
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="sign_in", by=dee).count() == 1
    many = [f"nobody {number}" for number in range(10_000)]
    twin = "S\N{CYRILLIC SMALL LETTER A}les"
    north.people["dee-1"] = DEE | {"groups": [*many, "Sales", "By hand", twin, "Legal "]}
    again = Client()
    come(again)
    assert who(again) == dee
    assert groups_of(cast, dee) == ["Legal", "Sales"]  # spaces around a name are not part of it
    north.people["dee-1"] = DEE | {"groups": []}
    come(Client())
    assert groups_of(cast, dee) == []  # taken out of every group is taken out here


def test_the_metadata_names_this_site_and_this_tenant(cast: Cast, north: IdentityProvider) -> None:
    told = Client().get("/accounts/saml/north/metadata/")
    root = etree.fromstring(told.content)
    assert root.get("entityID") == "http://127.0.0.1:8000/accounts/saml/north/metadata/"
    assert b"http://127.0.0.1:8000/accounts/saml/north/acs/" in told.content
    for where in ("metadata", "login", "finish"):
        assert Client().get(f"/accounts/saml/south/{where}/").status_code == 404
    assert Client().post("/accounts/saml/south/acs/").status_code == 404


CHANGES: dict[str, Callable[[Answer], Answer]] = {
    "wrong audience": lambda each: replace(each, audience="https://another.example"),
    "no audience": lambda each: replace(each, audience=""),
    "another recipient": lambda each: replace(each, recipient="https://another.example/acs/"),
    "a longer recipient": lambda each: replace(each, recipient=f"{each.to}more/"),
    "another destination": lambda each: replace(
        each, to="https://another.example/", recipient=each.to
    ),
    "a longer destination": lambda each: replace(each, to=f"{each.to}more/", recipient=each.to),
    "expired": lambda each: replace(each, lasts=-400),
    "another issuer": lambda each: replace(each, issuer="https://idp.south.example/metadata"),
    "unsigned": lambda each: replace(each, signs=False),
    "an old digest": lambda each: replace(each, digest="sha1"),
    "unsolicited": lambda each: replace(each, asked=""),
    "unsolicited, in a wrapping that is not": lambda each: replace(each, confirmed=""),
    "an answer to another question": lambda each: replace(each, confirmed="_other"),
    "another name each time": lambda each: replace(each, kind=TRANSIENT),
    "nobody": lambda each: replace(each, subject=""),
    "an endless name": lambda each: replace(each, subject="x" * 300),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_answer_that_is_not_ours_to_believe_opens_nothing(
    cast: Cast, north: IdentityProvider, what: str
) -> None:
    north.change = CHANGES[what]
    client = Client()
    _where, answer = asked_at(client, "dee-1")
    refused = brought(client, "/accounts/saml/north/acs/", answer)
    assert refused["Location"] == "/accounts/sign-in/", what
    assert who(client) is None
    assert not User.objects.filter(email="dee@north.example").exists()


def forged(what: str, xml: bytes) -> bytes:
    """A true answer, rearranged as an attacker who is known to the provider would."""
    root = etree.fromstring(xml)
    true = root.find("saml:Assertion", NAMES)
    evil = deepcopy(true)
    evil.remove(evil.find("ds:Signature", NAMES))
    evil.find("saml:Subject/saml:NameID", NAMES).text = "ada-1"
    at = root.index(true)
    if what == "two assertions":
        evil.set("ID", "_evil")
        root.insert(at, evil)
    elif what == "the same id twice":
        root.insert(at, evil)
    elif what == "the true one inside the signature of the false one":
        signature = deepcopy(true.find("ds:Signature", NAMES))
        evil.set("ID", "_evil")
        etree.SubElement(signature, f"{{{NAMES['ds']}}}Object").append(true)
        evil.insert(1, signature)
        root.insert(at, evil)
    elif what == "the true one inside the false one":
        evil.set("ID", "_evil")
        root.insert(at, evil)
        evil.append(true)
    elif what == "the true one in an extension":
        extension = etree.Element(f"{{{NAMES['samlp']}}}Extensions")
        root.insert(1, extension)
        extension.append(true)
        evil.set("ID", "_evil")
        root.append(evil)
    elif what == "the true one in the answer's own signature":
        signature = etree.Element(f"{{{NAMES['ds']}}}Signature")
        etree.SubElement(signature, f"{{{NAMES['ds']}}}Object").append(true)
        root.insert(1, signature)
        root.append(evil)
    elif what == "a changed name":
        true.find("saml:Subject/saml:NameID", NAMES).text = "ada-1"
    elif what == "signed by somebody":
        root.replace(true, evil)
        sign(evil, keys("mallory")[0])
    elif what == "an entity":
        text = etree.tostring(root).replace(b"dee-1", b"&who;")
        return b'<!DOCTYPE x [<!ENTITY who "ada-1">]>' + text
    return etree.tostring(root)


FORGERIES = (
    "two assertions",
    "the same id twice",
    "the true one inside the signature of the false one",
    "the true one inside the false one",
    "the true one in an extension",
    "the true one in the answer's own signature",
    "a changed name",
    "signed by somebody",
    "an entity",
)


@pytest.mark.parametrize("what", FORGERIES)
def test_a_wrapped_signature_makes_nobody_else(
    cast: Cast, north: IdentityProvider, what: str
) -> None:
    north.people["ada-1"] = DEE
    ada = User.objects.create_user("chief@north.example", name="Chief")
    Membership.objects.create(tenant=cast.north, user=ada, role=Role.CURATOR)
    [app] = samlfile_apps()
    SocialAccount.objects.create(user=ada, provider=app["provider_id"], uid="ada-1")
    true = Client()
    come(true, "ada-1")
    assert who(true) == ada  # the provider's own word is believed
    north.forge = lambda xml: forged(what, xml)
    client = Client()
    assert come(client)["Location"] == "/accounts/sign-in/"
    assert who(client) is None


def samlfile_apps() -> list[dict[str, Any]]:
    from django.conf import settings  # noqa: PLC0415  as the test has set them

    return list(settings.SAML_APPS)


def test_a_comment_inside_a_name_cuts_nothing_off(cast: Cast, north: IdentityProvider) -> None:
    """Somebody registers dee-1.evil; an XML reader that stops at a comment reads dee-1."""
    first = Client()
    come(first)
    dee = who(first)
    north.people["dee-1.evil"] = {"email": ["other@north.example"]}
    north.change = lambda each: replace(each, subject="dee-1<!-- -->.evil")
    client = Client()
    come(client, "dee-1.evil")
    assert who(client) not in (None, dee)
    assert SocialAccount.objects.filter(uid="dee-1.evil").count() == 1


def test_an_answer_is_taken_once_and_by_the_browser_that_asked(
    cast: Cast, north: IdentityProvider
) -> None:
    victim = Client()
    where, answer = asked_at(victim, "dee-1")
    mallory = Client()
    mallory.get("/accounts/saml/north/login/")
    brought(mallory, where, answer)
    assert who(mallory) is None  # believed, but not by a browser that asked
    assert brought(victim, where, answer)["Location"] == "/accounts/sign-in/"  # taken before
    assert who(victim) is None
    come(victim)
    assert who(victim) is not None
    kept = Client().post(where, {"SAMLResponse": asked_at(victim, "dee-1")[1]})["Location"]
    victim.get(kept)
    victim.post("/accounts/sign-out/")
    victim.get(kept)
    assert who(victim) is None


@pytest.mark.parametrize(
    "sent", ["", "!!", "AAAA", base64.b64encode(b"<x/>").decode(), "A" * 2_000_004]
)
def test_rubbish_leads_back_to_the_sign_in_page(
    cast: Cast, north: IdentityProvider, sent: str
) -> None:
    client = Client()
    answer = client.post("/accounts/saml/north/acs/", {"SAMLResponse": sent})
    assert answer["Location"] == "/accounts/sign-in/"
    assert b"did not answer as it should" in client.get("/accounts/sign-in/").content


def test_another_tenants_provider_opens_only_its_own_tenant(
    cast: Cast, settings: Any, tmp_path: Path
) -> None:
    with both(settings, tmp_path, {"dee-1": DEE}, {"dee-1": DEE}) as (_north, south):
        first = Client()
        come(first)
        dee = who(first)
        assert dee is not None
        client = Client()
        _where, answer = asked_at(client, "dee-1", "south")
        assert brought(client, "/accounts/saml/north/acs/", answer)["Location"].endswith("sign-in/")
        # The same subject and the same address, said by South's provider: nobody that it knows.
        come(client, "dee-1", "south")
        assert who(client) is None
        south.change = lambda each: replace(each, issuer="https://idp.north.example/metadata")
        come(client, "dee-1", "south")
        assert who(client) is None
        south.change = lambda each: each
        # An address that nobody has yet is not South's to give away either.
        south.people["eve"] = {"email": ["chief@north.example"]}
        come(client, "eve", "south")
        assert who(client) is None
        assert not User.objects.filter(email="chief@north.example").exists()
        south.people["eve"] = {"email": ["eve@south.example"]}
        come(client, "eve", "south")
        eve = who(client)
        assert eve is not None
        assert [each.tenant for each in Membership.objects.filter(user=eve)] == [cast.south]


def test_whoever_belongs_elsewhere_too_is_not_taken_over_by_an_address(
    cast: Cast, north: IdentityProvider
) -> None:
    dee = User.objects.create_user("dee@north.example", name="Dee")
    for tenant in (cast.north, cast.south):
        Membership.objects.create(tenant=tenant, user=dee, role=Role.CURATOR)
    client = Client()
    come(client)
    assert who(client) is None
    Membership.objects.filter(tenant=cast.south).delete()
    come(client)
    assert who(client) == dee  # whom North's own directory made
    assert Membership.objects.get(user=dee).role == Role.CURATOR


def test_whoever_was_taken_out_does_not_come_back(cast: Cast, north: IdentityProvider) -> None:
    client = Client()
    come(client)
    dee = who(client)
    assert dee is not None
    assert client.get("/chat/").status_code == 200
    remove(cast.north, dee, by=cast.ada)
    assert client.get("/chat/").status_code == 302
    again = Client()
    come(again)
    assert who(again) is None


def test_an_address_may_be_the_name_itself(cast: Cast, north: IdentityProvider) -> None:
    north.people["gus@north.example"] = {}
    north.change = lambda each: replace(each, kind=ADDRESS)
    client = Client()
    come(client, "gus@north.example")
    gus = who(client)
    assert gus is not None
    assert (gus.email, gus.name) == ("gus@north.example", "gus")


def test_a_new_certificate_is_trusted_beside_the_old_one(
    cast: Cast, settings: Any, tmp_path: Path, north: IdentityProvider
) -> None:
    (tmp_path / "next.pem").write_bytes(keys("next")[1])
    told = entry(north, tmp_path, certificates=["north.pem", "next.pem"])
    trust(settings, tmp_path, {"north": told})
    for key in ("north", "next"):
        north.key = key
        client = Client()
        come(client)
        assert who(client) is not None


def test_what_providers_call_things_can_be_told(
    cast: Cast, settings: Any, tmp_path: Path, north: IdentityProvider
) -> None:
    with tenant_scope(cast.north):
        Group.objects.create(name="Legal", follows_provider=True)
    trust(
        settings,
        tmp_path,
        {"north": entry(north, tmp_path, email="Mail", full_name="Called", groups="Teams")},
    )
    north.people["x"] = {"Mail": ["x@north.example"], "Called": ["Xa"], "Teams": ["Legal"]}
    client = Client()
    come(client, "x")
    made = who(client)
    assert made is not None
    assert (made.email, made.name, groups_of(cast, made)) == ("x@north.example", "Xa", ["Legal"])


def test_the_file_that_the_manual_shows_is_one(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "operate" / "sso.md").read_text("utf-8")
    shown = re.search(r"```json\n(.*?)```", manual, re.DOTALL)
    assert shown
    (tmp_path / "saml.json").write_text(shown[1])
    (tmp_path / "idp.pem").write_bytes(keys("north")[1])
    [app] = samlfile.apps(str(tmp_path / "saml.json"))
    assert (app["client_id"], app["settings"]["domains"]) == ("north", ["example.com"])


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("[]", "one object per tenant"),
        ("{", "is no JSON"),
        ('{"north": []}', "one object per tenant"),
        ({}, "lacks certificates, domains, entity_id, sso_url"),
        ({"domain": "x"}, "domain, which nothing reads"),
        ({"domains": []}, "domains should be a list"),
        ({"certificates": ["no.pem"]}, "no.pem is no certificate"),
        ({"sso_url": "http://idp.north.example/sso"}, "should begin with https://"),
    ],
)
def test_a_wrong_file_stops_the_start_and_says_where(tmp_path: Path, told: Any, words: str) -> None:
    if isinstance(told, dict):
        whole = entry(IdentityProvider("north", {}, port=1), tmp_path)
        told = json.dumps({"north": whole | told if told else {}})
    (tmp_path / "saml.json").write_text(told)
    with pytest.raises(InputError, match=words):
        samlfile.apps(str(tmp_path / "saml.json"))
    with pytest.raises(InputError, match="cannot be read"):
        samlfile.apps(str(tmp_path / "none.json"))
