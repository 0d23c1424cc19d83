"""What a model may write, as a person sees it: formulas are drawn, and nothing deceives."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from apps.chat.models import Conversation, Message, Role
from apps.tenants.scope import tenant_scope
from tests.browser.conftest import NARROW, WIDE, Window
from tests.browser.making import fill
from tests.browser.test_pages import TOO_WIDE

pytestmark = [pytest.mark.browser]

FORMULAS = r"""Inline $x_1^2 + \sqrt{y}$ and \(a < b\), cost $5 and $10 each, `$code$`.

$$
\frac{1}{2}
= \sum_{i=0}^{n} i
$$

\[ \begin{pmatrix}1 & 2\\3 & 4\end{pmatrix} \]

Broken $\frac{a}$, unknown $\nosuch{x}$, \[note\], and $$unfinished
"""
DECEIVING = (
    "\x1b[31mred\x1b[0m and \u202eturned\u202c\n\n"
    "[bank](https://\u0430\u0440\u0440\u04cf\u0435.com/login) [https://plain.example](https://elsewhere.example/b)"
)
LONG_LINE = "word " * 40_000
ENDLESS = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 20_000


SHIFTED = """() => new Promise(done => {
  let sum = 0;
  const add = list => { for (const each of list.getEntries()) sum += each.value; };
  new PerformanceObserver(add).observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 500);
})"""


def shown(people: Any, window: Callable[..., Window], text: str, width: int = NARROW) -> Locator:
    """The answer with this text, on its conversation's page."""
    fill(people)
    with tenant_scope(people.north):
        Message.objects.filter(role=Role.ASSISTANT).update(text=text)
        here = Conversation.objects.get()
    ada = window(people.ada, width=width)
    ada.open(here.get_absolute_url())
    ada.settle()
    return ada.page.locator("li[data-role=assistant] .chat-text")


def test_formulas_are_drawn_and_bad_ones_keep_their_source(
    people: Any, window: Callable[..., Window]
) -> None:
    answer = shown(people, window, FORMULAS)
    expect(answer.locator("math")).to_have_count(4)
    expect(answer.locator("math[display=block]")).to_have_count(2)
    expect(answer.locator("mfrac")).to_have_count(1)
    for source in ("cost $5 and $10 each", r"$\frac{a}$", r"$\nosuch{x}$", "$$unfinished"):
        expect(answer).to_contain_text(source)
    expect(answer).to_contain_text("[note]")
    expect(answer.locator("code")).to_have_text("$code$")
    assert answer.page.evaluate(TOO_WIDE) == []
    height = answer.locator("mfrac").bounding_box()
    assert height is not None
    assert height["height"] > 15  # it is a fraction, and not two letters in a row


def test_nothing_jumps_while_answers_are_drawn(people: Any, window: Callable[..., Window]) -> None:
    answer = shown(people, window, "# Title\n\n| a |\n|---|\n| b |\n\n" + "- one\n" * 9, width=WIDE)
    expect(answer.locator("table")).to_be_visible()
    assert answer.page.evaluate(SHIFTED) < 0.02


def test_no_answer_deceives(people: Any, window: Callable[..., Window]) -> None:
    answer = shown(people, window, DECEIVING)
    expect(answer).to_contain_text("red and turned")
    text = answer.inner_text()
    assert "\x1b" not in text
    assert "\u202e" not in text
    expect(answer.locator("a").first).to_contain_text("https://xn--")  # no letters that look alike
    expect(answer.locator("a").last).to_contain_text("(https://elsewhere.example/b)")


@pytest.mark.parametrize("text", [LONG_LINE, ENDLESS], ids=["a line of 200 KB", "an endless table"])
def test_an_endless_answer_is_shown_and_the_page_stays_awake(
    people: Any, window: Callable[..., Window], text: str
) -> None:
    began = time.monotonic()
    answer = shown(people, window, text)
    expect(answer.locator(".chat-plain")).to_be_visible()
    page = answer.page
    assert page.evaluate(TOO_WIDE) == []
    page.fill("#text", "And now?")
    expect(page.locator("#text")).to_have_value("And now?")
    assert time.monotonic() - began < 40
