"""What goes wrong around a conversation: a session that ends, two tabs, the back button."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.utils import timezone
from playwright.sync_api import expect

from apps.chat.models import Draft, Message
from apps.registry.models import Placement
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import LONG, make_model, model_server
from tests.browser.conftest import Window, session_of
from tests.cast import PASSWORD

pytestmark = [pytest.mark.browser]

DONE = "li[data-role=assistant][data-state=complete]"
WORDS = "A thought that nobody may lose"


@pytest.fixture
def model(people: Any) -> None:
    make_model(people.north, people.ada, people.bo, address=model_server().address)
    with tenant_scope(people.north):
        Placement.objects.update(seen_at=timezone.now() + timedelta(hours=1))


def chat(window: Window, path: str = "/chat/") -> Window:
    window.open(path)
    window.settle()
    return window


@pytest.mark.usefixtures("model")
def test_a_session_that_ends_loses_neither_question_nor_answer(
    people: Any, window: Callable[..., Window]
) -> None:
    people.bo.password = make_password(PASSWORD, hasher="argon2")  # the site's own hasher
    people.bo.save(update_fields=["password"])
    bo = chat(window(people.bo))
    page = bo.page
    page.fill("#text", LONG)
    page.keyboard.press("Enter")
    expect(page.locator("li[data-role=assistant]")).to_have_count(1)
    expect(page).to_have_url(re.compile("/chat/[0-9a-f-]{36}/"))
    here = page.url
    bo.context.clear_cookies(name="sessionid")  # in the middle of the answer
    expect(page.locator(DONE)).to_have_count(1)
    page.fill("#text", WORDS)
    page.locator("#text").press("Enter")
    told = page.locator(".chat-composer [role=alert]")
    expect(told).to_contain_text("You are signed out. Your text stays here")
    expect(page.locator("#text")).to_have_value(WORDS)
    with bo.context.expect_page() as opened:
        told.locator("a").click()
    tab = opened.value
    tab.fill("main input[type=email]", people.bo.email)
    tab.fill("main input[type=password]", PASSWORD)
    tab.click("main form button")
    expect(tab.locator("#rail")).to_be_attached()
    page.locator("#text").press("Enter")  # signing in drew another token: the page takes it
    expect(page.locator(DONE)).to_have_count(2)
    assert page.url == here


@pytest.mark.usefixtures("model")
def test_a_draft_is_kept_by_the_server_and_by_no_browser(
    people: Any, window: Callable[..., Window]
) -> None:
    first = chat(window(people.bo))
    with first.page.expect_response("**/chat/draft"):
        first.page.fill("#text", WORDS)
    second = chat(window(people.bo))
    expect(second.page.locator("#text")).to_have_value(WORDS)
    for kept in ("sessionStorage", "localStorage"):
        assert WORDS not in str(first.page.evaluate(f"JSON.stringify({{...{kept}}})"))
    with second.page.expect_response("**/chat/draft"):
        second.page.check(".chat-temporary input")  # what is temporary is kept nowhere
    with tenant_scope(people.north):
        assert not Draft.objects.exists()


@pytest.mark.usefixtures("model")
def test_going_back_asks_nothing_twice_and_shows_nothing_after_signing_out(
    people: Any, window: Callable[..., Window]
) -> None:
    page = chat(window(people.bo)).page
    page.fill("#text", "Where is it made?")
    page.keyboard.press("Enter")
    expect(page.locator(DONE)).to_have_count(1)
    page.reload()
    page.locator("summary", has_text="This conversation").click()
    page.fill("#title", "Renamed")
    page.get_by_role("button", name="Rename").click()
    expect(page.locator("main h1")).to_have_text("Renamed")
    page.get_by_role("link", name="New conversation").click()
    expect(page.locator("main h1")).to_have_text("New conversation")
    page.go_back()
    expect(page.locator("main h1")).to_have_text("Renamed")  # asked for again, not remembered
    with tenant_scope(people.north):
        assert Message.objects.count() == 2
    page.locator("summary", has_text="This conversation").click()
    page.get_by_role("button", name="Delete this conversation").click()
    expect(page.locator(".messages .notice")).to_contain_text("deleted")
    page.go_back()
    expect(page.locator("main h1")).to_contain_text("nothing here that you may open")
    page.goto(page.url.partition("/chat/")[0] + "/chat/")
    page.get_by_text("Sign out").click()
    expect(page.locator("input[type=password]")).to_be_visible()
    page.go_back()
    expect(page.locator("input[type=password]")).to_be_visible()
    assert "Renamed" not in page.content()


@pytest.mark.usefixtures("model")
def test_two_tabs_on_one_conversation_agree(people: Any, window: Callable[..., Window]) -> None:
    bo = window(people.bo)
    page = chat(bo).page
    page.fill("#text", "Where is it made?")
    page.keyboard.press("Enter")
    expect(page.locator(DONE)).to_have_count(1)
    other = window()
    other.context.add_cookies(
        [{"name": "sessionid", "value": session_of(people.bo), "url": other.address}]
    )
    chat(other, page.url.removeprefix(other.address))
    for tab, question in ((page, LONG), (other.page, "And when?")):
        tab.fill("#text", question)
        tab.keyboard.press("Enter")
        if tab is page:
            expect(page.locator("li[data-role=assistant]")).to_have_count(2)
    # Either the first answer was through, or the second tab is told to wait and keeps its text.
    refused = other.page.get_by_text("The last answer is still being written")
    expect(refused.or_(other.page.locator(DONE).nth(1)).first).to_be_visible()
    other.page.reload()
    expect(other.page.locator("li[data-role=user]", has_text=LONG)).to_have_count(1)
