"""A conversation as an employee has it, by keyboard, with a real model server behind it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from apps.chat.models import Message, Role, Share
from apps.registry.models import Placement
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import make_model, model_server
from tests.browser.conftest import NARROW, Window
from tests.browser.making import fill
from tests.browser.test_pages import TOO_WIDE

pytestmark = [pytest.mark.browser]

DONE = "li[data-role=assistant][data-state=complete]"
SLOW = 60_000  # ms; the machine may be busy


def test_a_question_is_asked_edited_and_found_again(
    people: Any, window: Callable[..., Window]
) -> None:
    make_model(people.north, people.ada, people.bo, address=model_server().address)
    with tenant_scope(people.north):
        Placement.objects.update(seen_at=timezone.now() + timedelta(hours=1))
    bo = window(people.bo, width=NARROW)
    bo.open("/chat/")
    bo.settle()
    page = bo.page
    file = {"name": "scan.pdf", "mimeType": "text/plain", "buffer": b"%PDF \xff\xfe"}
    page.set_input_files(".chat-composer input[type=file]", file)  # type: ignore[arg-type]
    expect(page.locator(".chat-composer [role=alert]")).to_contain_text("is no plain text")
    file |= {"name": "list.csv", "buffer": b"part,number\nhousing,4711\n"}
    page.set_input_files(".chat-composer input[type=file]", file)  # type: ignore[arg-type]
    expect(page.locator("#text")).to_have_value("list.csv:\n```\npart,number\nhousing,4711\n```\n")
    page.fill("#text", "")
    page.locator("main h1").click()
    page.keyboard.press("/")
    page.keyboard.type("Where is it made?")
    page.keyboard.press("Enter")
    expect(page.locator(DONE)).to_have_count(1, timeout=SLOW)
    tools = page.locator(f"{DONE} .chat-tools-line")
    for word in ("Copy", "Ask again", "Rate", "More"):
        expect(tools).to_contain_text(word)
    expect(page.locator("[data-status]")).to_contain_text("Answer finished")
    page.keyboard.press("Alt+ArrowUp")
    edited = page.locator("[data-edit] textarea")
    expect(edited).to_be_focused()
    edited.fill("When was it made?")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".chat-siblings").first).to_contain_text("2/2", timeout=SLOW)
    expect(page.locator(DONE)).to_have_count(1, timeout=SLOW)
    page.locator(".chat-siblings a").first.click()
    expect(page.locator("li[data-role=user] .chat-text")).to_have_text("Where is it made?")
    assert page.evaluate(TOO_WIDE) == []
    page.locator("main h1").click()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


def test_an_answer_is_read_wherever_it_is_shown(people: Any, window: Callable[..., Window]) -> None:
    fill(people)
    with tenant_scope(people.north):
        answer = Message.objects.get(role=Role.ASSISTANT)
        share = Share.objects.create(conversation=answer.conversation, user=people.bo)
    bo, ada = window(people.bo, width=NARROW), window(people.ada, width=NARROW)
    for who, path in (
        (bo, f"/chat/shared/{share.pk}/"),
        (ada, f"/chat/messages/{answer.pk}/evidence"),
    ):
        who.open(path)
        who.settle()
        expect(who.page.locator("[data-markdown] strong").first).to_have_text("MX-200")
        assert who.page.evaluate(TOO_WIDE) == []
