"""The front door, the probes and the headers of every answer."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from tests.cast import PASSWORD, Cast

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "font-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}


def test_each_role_begins_where_its_work_is(cast: Cast) -> None:
    begins = {cast.ada: "Bring a corpus", cast.bo: "no model that you may ask", cast.otto: "Audit"}
    for person, words in begins.items():
        assert words in cast.client(person).get("/").content.decode()


def test_nobody_begins_at_the_sign_in_page(db: None, client: Client) -> None:
    assert client.get("/").headers["Location"] == "/accounts/sign-in/?next=/"


def test_the_process_answers_without_the_database(client: Client) -> None:
    assert client.get("/healthz").json() == {"ok": True}  # a query would fail: no `db` here


def test_ready_means_database_migrations_and_broker(
    db: None, client: Client, settings: Settings
) -> None:
    assert client.get("/readyz").json() == {"ok": True, "database": "ok", "broker": "ok"}
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["broker"].startswith("unreachable")


def test_whoever_started_before_an_upgrade_goes_on_until_the_newer_release_takes_over(
    db: None, client: Client
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('runs', '9999_x', now())"
        )
    assert client.get("/readyz").status_code == 200  # a start is refused: counterpoint.E008
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'runs' AND name LIKE '0003%%'")
    assert client.get("/readyz").json()["database"] == "1 migrations are pending"


@pytest.mark.parametrize("page", ["/accounts/sign-in/", "/nowhere", "/healthz", "/v1/models"])
def test_every_answer_carries_the_strict_headers(db: None, client: Client, page: str) -> None:
    headers = client.get(page).headers
    assert {part.strip() for part in headers["Content-Security-Policy"].split(";")} == POLICY
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


def test_a_form_without_its_token_is_refused(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = cast.client(cast.ada).cookies
    assert client.post("/accounts/keys/", {"name": "x"}).status_code == 403


ASKED_OF_SETTINGS = """
from counterpoint import settings
names = "SESSION_COOKIE_NAME CSRF_COOKIE_NAME LANGUAGE_COOKIE_NAME SESSION_COOKIE_SECURE"
names += " CSRF_COOKIE_SECURE LANGUAGE_COOKIE_SECURE SESSION_COOKIE_HTTPONLY CSRF_COOKIE_HTTPONLY"
names += " LANGUAGE_COOKIE_HTTPONLY SECURE_HSTS_SECONDS SECURE_HSTS_INCLUDE_SUBDOMAINS"
print([getattr(settings, name) for name in names.split()])
"""


def test_under_https_cookies_and_headers_are_at_their_strictest() -> None:
    told = os.environ | {"COUNTERPOINT_URL": "https://counterpoint.example"}
    done = subprocess.run(
        [sys.executable, "-c", ASKED_OF_SETTINGS], env=told, capture_output=True, check=True
    )
    *cookies, seconds, subdomains = ast.literal_eval(done.stdout.decode())
    assert cookies[:3] == [
        f"__Host-{name}" for name in ("sessionid", "csrftoken", "django_language")
    ]
    assert cookies[3:] == [True] * 6
    assert (seconds, subdomains) == (31536000, True)


def test_cookies_are_for_this_site_alone(cast: Cast, client: Client) -> None:
    person = {"username": "bo@north.example", "password": PASSWORD}
    client.get("/accounts/sign-in/")
    client.post("/accounts/sign-in/", person)
    client.post("/language/", {"language": "de"})
    assert {"sessionid", "csrftoken"} <= set(client.cookies)
    for cookie in client.cookies.values():
        assert cookie["samesite"] == "Lax", cookie.key
        assert cookie["httponly"], cookie.key
        assert (cookie["path"], cookie["domain"]) == ("/", ""), cookie.key


def test_a_method_that_only_echoes_is_refused(cast: Cast) -> None:
    client = cast.client(cast.ada)
    for place in ("/", "/chat/", "/corpora/", "/accounts/sign-in/", "/healthz", "/v1/models"):
        answer = client.generic("TRACE", place, HTTP_X_PLANTED="echo of a header")
        assert answer.status_code in (401, 405), place
        assert b"echo of a header" not in answer.content
