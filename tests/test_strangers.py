"""Every address of the site, asked for by a stranger and by nobody. A new view is covered at once.

A view whose address names an object needs an entry in `tests/apps/<app>/strangers.py`:
`OBJECTS: dict["app:view", Callable[[Cast], dict[str, object]]]`, which makes an object of North and
returns the address's arguments. Cy, a curator of South, then finds nothing there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.cast import Cast

Made = Callable[[Cast], dict[str, object]]

# Open to everybody, each with its reason.
PUBLIC = {
    "api:description": "the door for programs described; the same for everybody",
    "account_inactive": "says that an account is closed, to whoever was sent there",
    "account_login": "the way in, under allauth's name",
    "account_logout": "ends whatever session there is",
    "mfa_login_webauthn": "the way in by a passkey",
    "openid_connect_callback": "where the provider sends people back",
    "openid_connect_login": "the way to the provider",
    "saml_acs": "where a tenant's provider sends people back",
    "saml_finish": "where they come in, if their browser asked",
    "saml_login": "the way to a tenant's provider",
    "saml_logout": "where a tenant's provider ends the sessions that began with it",
    "saml_metadata": "who this site is, for a provider's administrator",
    "socialaccount_login_cancelled": "says that a sign-in was broken off",
    "socialaccount_login_error": "says that a sign-in failed",
    "accounts:sign_in": "the way in",
    "accounts:sign_out": "ends whatever session there is",
    "healthz": "the process's pulse, without a word about its content",
    "set_language": "chooses the language of the pages, before anybody signs in",
    "streamz": "three numbers with pauses between, to find a proxy that holds streams back",
    "readyz": "whether the engines answer, without a word about their content",
}
HIDDEN = {401, 404}
REFUSED = {401, 403, 405}


def views(resolver: URLResolver, space: str = "") -> Iterator[tuple[str, bool]]:
    """The name of every view, and whether its address names an object."""
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            inner = ":".join(filter(None, [space, each.namespace]))
            has_argument = bool(each.pattern.converters)
            yield from ((name, found or has_argument) for name, found in views(each, inner))
        elif isinstance(each, URLPattern):
            assert each.name, f"{each.pattern} has no name"
            yield ":".join(filter(None, [space, each.name])), bool(each.pattern.converters)


ALL = sorted(set(views(get_resolver())))
OF_AN_OBJECT = [name for name, has_argument in ALL if has_argument and name not in PUBLIC]
OF_NONE = [name for name, has_argument in ALL if not has_argument]


def objects() -> dict[str, Made]:
    """Every app's entries."""
    found: dict[str, Made] = {}
    for path in sorted((Path(__file__).parent / "apps").glob("*/strangers.py")):
        found |= importlib.import_module(f"tests.apps.{path.parent.name}.strangers").OBJECTS
    return found


def ask(client: Client, method: str, address: str) -> HttpResponse:
    return getattr(client, method)(address)


def goes_to_sign_in(response: HttpResponse) -> bool:
    ways = ("/accounts/sign-in/", "/accounts/login/")
    return response.status_code == 302 and response["Location"].startswith(ways)


def test_every_object_of_an_address_has_an_entry() -> None:
    assert sorted(objects()) == OF_AN_OBJECT


@pytest.mark.parametrize("name", OF_AN_OBJECT)
def test_a_stranger_finds_nothing(cast: Cast, name: str) -> None:
    address = reverse(name, kwargs=objects()[name](cast))
    answers = {
        method: ask(cast.client(cast.cy), method, address).status_code for method in ("get", "post")
    }
    assert set(answers.values()) <= HIDDEN | {405}, answers
    assert set(answers.values()) & HIDDEN, answers


@pytest.mark.parametrize("name", OF_AN_OBJECT)
def test_nobody_finds_nothing(cast: Cast, name: str) -> None:
    address = reverse(name, kwargs=objects()[name](cast))
    for method in ("get", "post"):
        answer = ask(Client(), method, address)
        assert goes_to_sign_in(answer) or answer.status_code in HIDDEN | REFUSED, method


@pytest.mark.parametrize("name", [name for name in OF_NONE if name not in PUBLIC])
def test_nobody_is_refused(db: None, name: str) -> None:
    for method in ("get", "post"):
        answer = ask(Client(), method, reverse(name))
        assert goes_to_sign_in(answer) or answer.status_code in HIDDEN | REFUSED, method
