"""A passkey in a real browser, by Chromium's own authenticator, our script and our policy."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.hashers import make_password

from apps.accounts.models import User
from tests.browser.conftest import NARROW, Window
from tests.cast import PASSWORD


def with_authenticator(window: Window) -> Window:
    """At the site's name, where browsers know passkeys, with a device that verifies its owner."""
    window.address = window.address.replace("127.0.0.1", "localhost")
    session = window.context.new_cdp_session(window.page)
    session.send("WebAuthn.enable", {"enableUI": False})
    made = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True}
    made |= {"hasUserVerification": True, "isUserVerified": True}
    session.send("WebAuthn.addVirtualAuthenticator", {"options": made})
    return window


HOME = re.compile(r"://[^/]+/$")


def test_a_passkey_is_made_and_opens_the_site_by_itself(people: Any, window: Any) -> None:
    # The running site knows the product's hashers alone, and not the quick one of the tests.
    User.objects.filter(pk=people.bo.pk).update(password=make_password(PASSWORD, hasher="argon2"))
    bo = with_authenticator(window(width=NARROW))
    bo.open("/accounts/sign-in/")
    bo.page.get_by_label("Email address").fill(people.bo.email)
    bo.page.get_by_label("Password").fill(PASSWORD)
    bo.page.get_by_role("button", name="Sign in", exact=True).click()
    bo.page.wait_for_url(HOME)
    bo.open("/accounts/2fa/webauthn/add/")
    bo.page.get_by_label("Password").fill(PASSWORD)
    bo.page.get_by_role("button", name="Confirm").click()
    bo.page.get_by_label("What you call it").fill("this telephone")
    bo.page.get_by_role("button", name="Make the passkey").click()
    bo.page.wait_for_url("**/recovery-codes/")
    bo.open("/accounts/2fa/webauthn/")
    assert "this telephone" in bo.page.inner_text("main")
    bo.context.clear_cookies()
    bo.open("/accounts/sign-in/")
    bo.page.get_by_role("button", name="Sign in with a passkey").click()
    bo.page.wait_for_url(HOME)


def test_at_a_number_no_passkey_is_offered_and_the_page_says_what_to_do(
    people: Any, window: Any
) -> None:
    """127.0.0.1 is a secure place, but no name that a passkey could belong to."""
    nobody = window()
    nobody.open("/accounts/sign-in/")
    nobody.page.get_by_role("button", name="Sign in with a passkey").click()
    nobody.page.get_by_text("Open the site by its name").wait_for()
