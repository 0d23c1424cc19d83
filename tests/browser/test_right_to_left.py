"""Every page in Arabic: right to left, mirrored, nothing too wide, other people's words apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from apps.chat.models import Conversation
from apps.corpora.models import Corpus, Document
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from tests.addresses import addresses
from tests.browser.arabic import write_catalogue
from tests.browser.arabic_site import PLACE
from tests.browser.conftest import NARROW, WIDE, Site, Window, served, windows
from tests.browser.making import fill
from tests.browser.test_pages import TOO_WIDE, pages

pytestmark = [pytest.mark.browser]

TURNED = "\u202eZQX تقرير 2023"  # a name that would turn whatever stands beside it
# Names of people with something behind them in the same line that they would turn.
MINGLED = """() => {
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walk.nextNode();) {
    const around = node.parentElement;
    if (!node.data.includes('ZQX') || !around.checkVisibility()) continue;
    if (around.closest('.visually-hidden, option, textarea')) continue;
    let holder = around;
    while (getComputedStyle(holder).unicodeBidi === 'normal') holder = holder.parentElement;
    if (holder === around && getComputedStyle(around).unicodeBidi === 'plaintext') continue;
    const rest = holder.textContent.split('2023').slice(1).join('').replace(/\u2069[^]*/, '');
    if (rest.trim()) found.push(holder.outerHTML.slice(0, 200));
  }
  return found;
}"""
RAIL = """() => {
  const rail = document.getElementById('rail').getBoundingClientRect();
  const main = document.querySelector('main').getBoundingClientRect();
  return [innerWidth - rail.right, rail.left - main.right];
}"""


@pytest.fixture(scope="module")
def arabic_site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("arabic")
    write_catalogue(folder)
    with served("tests.browser.arabic_site:application", folder, **{PLACE: str(folder)}) as started:
        yield started


@pytest.fixture
def arabic(
    arabic_site: Site, chromium_browser: Browser, people: Any
) -> Iterator[Callable[..., Window]]:
    with windows(arabic_site, chromium_browser) as one:
        yield one


def turned(people: Any) -> list[Any]:
    """One of everything, with names that turn the order of letters."""
    made = fill(people)
    with tenant_scope(people.north):
        Corpus.objects.update(name=TURNED)
        Document.objects.update(title=TURNED)
        Conversation.objects.update(title=TURNED)
        Run.objects.update(name=TURNED)
    people.bo.name = people.ada.name = TURNED
    for each in (people.ada, people.bo):
        each.save(update_fields=["name"])
    return made


def test_every_page_reads_from_right_to_left(people: Any, arabic: Callable[..., Window]) -> None:
    found = pages(arabic(people.ada, language="ar"), addresses(turned(people)))
    assert len(found) > 40
    faults = []
    for width in (NARROW, WIDE):
        ada = arabic(people.ada, width=width, language="ar")
        for path in found:
            ada.open(path)
            ada.settle()
            root = ada.page.locator("html")
            assert (root.get_attribute("dir"), root.get_attribute("lang")) == ("rtl", "ar"), path
            faults += [f"{path} is too wide at {width}: {e}" for e in ada.page.evaluate(TOO_WIDE)]
            if width == WIDE:
                faults += [f"{path} mingles: {each}" for each in ada.page.evaluate(MINGLED)]
                edge, beside = ada.page.evaluate(RAIL)
                faults += [] if edge < 20 and beside >= 0 else [f"{path} has its rail left"]
    assert not faults, "\n".join(faults)


def test_words_keep_their_own_direction(people: Any, arabic: Callable[..., Window]) -> None:
    fill(people)
    ada = arabic(people.ada, language="ar")
    ada.open("/chat/")
    ada.settle()
    field = ada.page.locator("#text")
    for words, way in (("What is it?", "ltr"), ("ما هو المقياس؟", "rtl")):
        field.fill(words)
        assert field.evaluate("e => getComputedStyle(e).direction") == way
    assert ada.page.locator(".theme-switch").bounding_box()["x"] > WIDE / 2  # type: ignore[index]  # it is shown
