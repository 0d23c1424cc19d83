"""What a failed test tells of its pages."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.seen import seen


def test_a_failed_test_tells_what_each_of_its_pages_showed(chromium_browser: Browser) -> None:
    context = chromium_browser.new_context()
    page = context.new_page()
    page.set_content("<h1>Sign in</h1><p>The password is wrong.</p>")
    assert list(seen([chromium_browser, 3])) == [
        ("page about:blank", "Sign in\n\nThe password is wrong.")
    ]
    context.close()
