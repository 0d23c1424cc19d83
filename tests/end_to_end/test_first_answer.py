"""A new admin's road from signing in to the first answer: by keys alone, and on a small screen.

The whole product, a tiny anchor and a quick preset. Every press of a link, a button or a choice
counts, by whatever hand; choosing files does not.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import NARROW, WIDE
from tests.browser.test_pages import TOO_WIDE
from tests.end_to_end.test_upload_to_chat import CURATOR, MINUTE, wait_for_a_model, write_files
from tests.product import PASSWORD, Product
from tests.tiny import make_model, save_folder

pytestmark = [pytest.mark.slow]

MOST = 12
STEPS = 250  # of Tab: further than any page is long


class Pointer:
    """Presses by pointing."""

    def __init__(self, page: Page) -> None:
        self.page, self.presses = page, 0

    def press(self, what: Locator) -> None:
        self.presses += 1
        what.click()

    def write(self, where: Locator, text: str) -> None:
        where.fill(text)

    def choose(self, where: Locator, files: list[Path]) -> None:
        where.set_input_files(files)

    def look(self) -> None:
        assert self.page.evaluate(TOO_WIDE) == [], self.page.url


class Keys(Pointer):
    """The same by keys alone: Tab until it has the focus, then what a person presses."""

    def reach(self, what: Locator) -> None:
        what.wait_for(state="visible")
        wanted = what.element_handle()
        for _ in range(STEPS):
            if self.page.evaluate("wanted => document.activeElement === wanted", wanted):
                assert what.evaluate("e => e.matches(':focus-visible')"), "the focus is not seen"
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"Tab never reaches {what} on {self.page.url}")

    def press(self, what: Locator) -> None:
        self.presses += 1
        if what.evaluate("e => e.matches('input[type=radio]')"):
            self.turn_to(what)
            return
        self.reach(what)
        self.page.keyboard.press("Enter")

    def turn_to(self, choice: Locator) -> None:
        """Tab comes to the choice that stands; arrows go round the others."""
        name = choice.get_attribute("name")
        self.reach(self.page.locator(f"input[name='{name}']:checked"))
        for _ in range(10):
            if choice.is_checked():
                return
            self.page.keyboard.press("ArrowDown")
        pytest.fail("the arrows never reach the choice")

    def write(self, where: Locator, text: str) -> None:
        self.reach(where)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def choose(self, where: Locator, files: list[Path]) -> None:
        self.reach(where)
        with self.page.expect_file_chooser() as opened:
            self.page.keyboard.press("Enter")
        opened.value.set_files(files)


@pytest.mark.parametrize(
    ("hand", "width"), [(Keys, WIDE), (Pointer, NARROW)], ids=["by keys", "at 360 px"]
)
def test_the_first_answer_is_twelve_presses_away(
    product: Product, chrome: Browser, tmp_path: Path, hand: type[Pointer], width: int
) -> None:
    save_folder(make_model("llama", positions=1024), tmp_path / "anchor")
    product.manage("open_tenant", "North", CURATOR, "--person", "Ana")
    product.manage("import_anchor", str(tmp_path / "anchor"), "--tenant", "north", "--name", "Tiny")
    files, questions = write_files(tmp_path / "files")
    page = chrome.new_page(viewport={"width": width, "height": 800})
    page.set_default_timeout(MINUTE)
    page.goto(f"{product.address()}/accounts/sign-in/")
    ana = hand(page)
    taught(ana, files, questions)
    page.wait_for_url("**/models/**")
    ana.look()
    ana.press(main(page, "link", "Chat"))
    wait_for_a_model(page)
    ana.write(page.get_by_role("textbox", name="Your question"), "Where is the Zor00vex made?")
    ana.press(main(page, "button", "Ask"))
    reply = page.locator("li[data-role=assistant]")
    expect(reply).to_have_attribute("data-state", "complete", timeout=2 * MINUTE)
    ana.look()
    assert ana.presses <= MOST


def taught(ana: Pointer, files: list[Path], questions: Path) -> None:
    """From the sign-in page to a model that is live."""
    page = ana.page
    ana.write(page.get_by_label("Email address"), CURATOR)
    ana.write(page.get_by_label("Password"), PASSWORD)
    ana.look()
    ana.press(main(page, "button", "Sign in"))
    ana.look()
    ana.press(main(page, "link", "New corpus"))
    ana.write(page.get_by_label("Name"), "Catalogue")
    ana.press(main(page, "button", "Create corpus"))
    ana.look()
    ana.choose(page.locator("cp-upload input[name=files]"), files)
    page.wait_for_url("**/corpora/uploads/**")
    expect(page.get_by_text("1 rejected + 0 in progress")).to_be_visible(timeout=2 * MINUTE)
    ana.look()
    ana.choose(page.locator("main input[data-at-once]"), [questions])
    expect(page.get_by_text("40 added")).to_be_visible()
    ana.look()
    ana.press(main(page, "link", "Freeze a snapshot"))
    ana.look()
    ana.press(main(page, "button", "Freeze"))
    ana.press(main(page, "link", "Teach this"))
    ana.look()
    ana.press(page.get_by_label("Quick check"))
    ana.press(page.get_by_role("button", name="Start"))
    card = page.locator("main a[href^='/reports/']").first
    expect(card).to_be_visible(timeout=8 * MINUTE)
    ana.look()
    ana.press(card)
    ana.look()
    ana.write(page.get_by_label("Reason"), "A tiny model cannot pass; the road is what is tried.")
    ana.press(page.get_by_role("button", name="live"))


def main(page: Page, role: str, name: str) -> Locator:
    return page.locator("main").get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]  # one of ARIA's
