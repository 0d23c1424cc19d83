"""Every page in a real browser: clean under the strict policy, on its own host, narrow and wide."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest
from django.contrib.auth.hashers import make_password
from playwright.sync_api import expect

from apps.corpora.actions import create_corpus
from apps.evaluation.models import Report
from apps.tenants.scope import tenant_scope
from tests.addresses import addresses
from tests.browser.conftest import NARROW, WIDE, Window
from tests.browser.making import fill
from tests.cast import PASSWORD

pytestmark = [pytest.mark.browser]

TOO_WIDE = """() => {
  const page = document.documentElement;
  return page.scrollWidth <= page.clientWidth ? [] : [...document.querySelectorAll('body *')]
    .filter(e => [e.getBoundingClientRect()].some(b => b.right > innerWidth + 1 || b.left < -1))
    .filter(e => !e.closest('.table-box, .tabs, pre'))
    .slice(0, 5).map(e => e.tagName + '.' + e.className);
}"""
CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea"
NAMELESS = """controls => [...document.querySelectorAll(controls)]
  .filter(e => e.checkVisibility())
  .filter(e => !(e.innerText || '').trim() && !e.ariaLabel && !e.labels?.length && !e.title)
  .filter(e => !e.getAttribute('aria-labelledby'))
  .map(e => e.outerHTML.slice(0, 120))"""
INLINE = "[style]:not(.uplot, .uplot *), [onclick], script:not([src])"
HOSTILE = """Fine **words**.

<script>window.harmed = 1</script><img src=x onerror="window.harmed = 2">

![spy](http://elsewhere.example/p.png) [trap](javascript:window.harmed=3) <iframe src="http://elsewhere.example"></iframe>

<p style="color:red" onclick="window.harmed=4">styled</p>

[manual](https://elsewhere.example/a)
"""


def pages(window: Window, paths: Iterable[str]) -> list[str]:
    """Those of the addresses that answer with a page of ours; asked for outside the browser.

    The head alone is read: streams never end, and a wrong object is a 404.
    """
    cookies = {each["name"]: each["value"] for each in window.context.cookies()}
    found = []
    with httpx.Client(base_url=window.address, cookies=cookies) as client:
        for path in sorted(set(paths)):
            with client.stream("GET", path) as answer:
                kind = answer.headers.get("content-type", "")
                assert answer.status_code < 500, f"{path} answers {answer.status_code}"
                if answer.status_code == 200 and kind.startswith("text/html"):
                    found.append(path)
    return found


def test_every_page_is_clean_wide_and_narrow(people: Any, window: Callable[..., Window]) -> None:
    made = fill(people)
    ada = window(people.ada)
    found = pages(ada, addresses(made))
    assert {each.get_absolute_url() for each in made} | {"/chat/", "/audit/"} <= set(found)
    for theme, width in (("light", WIDE), ("dark", NARROW)):
        ada = window(people.ada, theme=theme, width=width)
        for path in found:
            ada.open(path)
            ada.settle()
            page = ada.page
            assert page.evaluate(TOO_WIDE) == [], f"{path} scrolls sideways at {width} px"
            assert page.evaluate(NAMELESS, CONTROLS) == [], f"{path} has controls without a name"
            assert page.locator("h1").count() == 1, f"{path} needs one heading of the first level"
            assert page.locator(INLINE).count() == 0, f"{path} has inline styles or scripts"
            page.evaluate("document.documentElement.dir = 'rtl'")
            assert page.evaluate(TOO_WIDE) == [], f"{path} scrolls sideways from right to left"


def test_signing_in_by_hand_and_out_again(people: Any, window: Callable[..., Window]) -> None:
    people.ada.password = make_password(PASSWORD, hasher="argon2")  # the site's own hasher
    people.ada.save(update_fields=["password"])
    nobody = window()
    page = nobody.page
    nobody.open("/accounts/keys/")
    expect(page).to_have_url(re.compile("/accounts/sign-in/"))
    page.fill("main input[type=email]", people.ada.email)
    page.fill("main input[type=password]", "not this one")
    page.click("main button")
    expect(page.locator("main")).to_contain_text("password")
    page.fill("main input[type=password]", PASSWORD)
    page.click("main button")
    expect(page).to_have_url(re.compile("/accounts/keys/"))
    expect(page.locator(".rail .tenant-name")).to_contain_text("North")
    page.click("text=Sign out")
    expect(page.locator("input[type=password]")).to_be_visible()


def test_the_theme_is_chosen_once_and_kept(people: Any, window: Callable[..., Window]) -> None:
    bo = window(people.bo)
    bo.open("/chat/")
    bo.page.click("[data-theme-choice=dark]")
    bo.page.reload()
    assert bo.page.locator("html").get_attribute("data-theme") == "dark"
    ground = bo.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == "rgb(25, 23, 21)"


def test_a_hostile_answer_is_shown_and_harms_nothing(
    people: Any, window: Callable[..., Window]
) -> None:
    bo = window(people.bo)
    bo.open("/chat/")
    bo.settle()
    page = bo.page
    # The markup that chat/_message.html writes, with the text as Django escapes it.
    page.evaluate(
        """text => {
          const line = document.createElement('li');
          line.innerHTML = '<p class="chat-who">Model</p><div class="chat-text" data-text></div>';
          line.dataset.role = 'assistant';
          line.dataset.state = 'complete';
          line.querySelector('[data-text]').textContent = text;
          const chat = document.querySelector('cp-chat').cloneNode(true);
          chat.querySelector('[data-messages]').append(line);
          document.querySelector('cp-chat').replaceWith(chat);
        }""",
        HOSTILE,
    )
    answer = page.locator("li[data-role=assistant] .chat-text")
    expect(answer.locator("strong")).to_have_text("words")
    assert answer.locator("script, img, iframe, [style], [onclick], [onerror]").count() == 0
    expect(answer).to_contain_text("<script>window.harmed = 1</script>")
    link = answer.locator("a")
    expect(link).to_have_count(1)
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(link).to_contain_text("https://elsewhere.example/a")
    assert page.evaluate("window.harmed") is None


def test_each_role_sees_only_its_own_way(people: Any, window: Callable[..., Window]) -> None:
    ways = {}
    for name in ("ada", "bo", "otto"):
        person = window(getattr(people, name))
        person.open("/chat/")
        person.settle()
        ways[name] = person.page.locator("#rail nav a").all_inner_texts()
        for link in person.page.locator("#rail nav a").all():
            path = link.get_attribute("href")
            assert person.context.request.get(person.address + str(path)).status == 200, path
    assert "Runs" in ways["ada"]
    assert "Runs" not in ways["bo"]
    assert "Audit" in ways["otto"]
    assert "Audit" not in ways["bo"]


def test_chosen_files_arrive_in_one_upload(people: Any, window: Callable[..., Window]) -> None:
    with tenant_scope(people.north):
        corpus = create_corpus("Manuals", by=people.ada)
    ada = window(people.ada)
    ada.open(corpus.get_absolute_url())
    ada.settle()
    files = [
        {"name": f"page-{n}.md", "mimeType": "text/markdown", "buffer": f"Page {n}".encode()}
        for n in range(30)  # more than one batch
    ]
    ada.page.set_input_files("cp-upload input[name=files]", files)  # type: ignore[arg-type]
    expect(ada.page).to_have_url(re.compile("/corpora/uploads/"))
    expect(ada.page.locator("#upload-card")).to_contain_text("30 received")


def test_a_report_card_fits_on_paper(people: Any, window: Callable[..., Window]) -> None:
    report = next(each for each in fill(people) if isinstance(each, Report))
    ada = window(people.ada, theme="dark")
    ada.open(report.get_absolute_url())
    ada.settle()
    ada.page.evaluate("window.print = () => { window.printed = true; }")
    ada.page.get_by_role("button", name="Print or save as PDF").click()
    assert ada.page.evaluate("window.printed")
    ada.page.emulate_media(media="print")
    ada.page.set_viewport_size({"width": 673, "height": 950})  # A4 within its margins
    assert ada.page.evaluate(TOO_WIDE) == []
    assert not ada.page.locator("main form, main .button, #rail").locator("visible=true").count()
    ground = ada.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    pages_made = ada.page.pdf(format="A4", prefer_css_page_size=True).count(b"/Type /Page\n")
    assert 1 <= pages_made <= 3
    matrix = ada.page.locator(".matrix").first.bounding_box()
    assert matrix is not None
    assert matrix["y"] + matrix["height"] < 950  # verdict and matrix stand on the first
