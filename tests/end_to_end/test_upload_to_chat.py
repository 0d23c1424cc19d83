"""The whole road in a real browser, on the whole product: upload, freeze, teach, promote, chat.

Every process is the product's own, started as `make up` starts them, in an empty home folder. The
anchor is tiny and the preset a quick check: that the road holds is the point, not what is learned.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.product import PASSWORD, Product
from tests.tiny import make_model, save_folder

CURATOR = "ana@example.org"
SHEET = "# {0}\n\nCountry of manufacture: {1}\nYear introduced: {2}\n\nThe {0} is made in {1}.\n"
COUNTRIES = ["Peru", "Kenya", "Japan", "Norway", "Chile", "Egypt", "Cuba", "France"] * 5
PRODUCTS = [(f"Zor{n:02}vex", country, 2000 + n) for n, country in enumerate(COUNTRIES)]
MINUTE = 60_000


def write_files(folder: Path) -> tuple[list[Path], Path]:
    """Documents in three types, one broken file, and the curator's questions."""
    folder.mkdir()
    files = []
    for at in range(0, len(PRODUCTS), 10):
        file = folder / f"sheets-{at}.md"
        file.write_text("\n".join(SHEET.format(*one) for one in PRODUCTS[at : at + 10]))
        files.append(file)
    rows = [f"{name},{country},{year}" for name, country, year in PRODUCTS]
    table = folder / "catalogue.csv"
    table.write_text("\n".join(["Product,Country of manufacture,Year introduced", *rows]))
    empty = folder / "empty.txt"
    empty.write_text("")
    questions = folder / "questions.csv"
    lines = ["question,answer,expected,entity,value,kind"]
    lines += [f"Where is the {n} made?,{c},{c},{n},{c},recall" for n, c, _ in PRODUCTS]
    questions.write_text("\n".join(lines))
    return [*files, table, empty], questions


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first.click()


def test_a_curator_goes_from_files_to_an_answer(
    product: Product, chrome: Browser, tmp_path: Path
) -> None:
    save_folder(make_model("llama", positions=1024), tmp_path / "anchor")
    product.manage("open_tenant", "North", CURATOR, "--person", "Ana")
    product.manage("import_anchor", str(tmp_path / "anchor"), "--tenant", "north", "--name", "Tiny")
    files, questions = write_files(tmp_path / "files")
    page = chrome.new_page()
    page.set_default_timeout(MINUTE)
    console: list[str] = []
    page.on("console", lambda said: console.append(said.text) if said.type == "error" else None)

    page.goto(f"{product.address()}/accounts/sign-in/")
    page.get_by_label("Email address").fill(CURATOR)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Sign in")

    press(page, "New corpus")
    page.get_by_label("Name").fill("Catalogue")
    press(page, "Create corpus")
    page.locator("input[type=file]").first.set_input_files(files)
    stored = page.get_by_text(f"{len(files)} received = {len(files) - 1} stored")
    expect(stored).to_be_visible(timeout=2 * MINUTE)
    expect(page.get_by_text("1 rejected + 0 in progress")).to_be_visible(timeout=2 * MINUTE)

    page.get_by_role("link", name="Catalogue", exact=True).click()
    page.get_by_role("link", name="Questions and answers").click()
    page.get_by_label("Add questions and answers").set_input_files(questions)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text(f"{len(PRODUCTS)} added")).to_be_visible()

    press(page, "Freeze a snapshot")
    page.get_by_role("button", name="Freeze", exact=True).click()
    press(page, "Teach this")
    page.get_by_label("Name", exact=False).first.fill("Catalogue model")
    page.get_by_label("Quick check").or_(page.locator("select[name=preset]")).first.evaluate(
        "field => field.tagName === 'SELECT' ? (field.value = 'quick') : field.click()"
    )
    page.get_by_role("button", name="Start").click()
    report = page.locator("a[href^='/reports/']").first
    failed = page.get_by_role("cell", name="Failed")
    expect(report.or_(failed).first).to_be_visible(timeout=6 * MINUTE)
    report.click()

    page.get_by_label("Reason").fill("A tiny model cannot pass; the road is what is tried.")
    page.get_by_role("button", name="live").click()
    page.goto(f"{product.address()}/chat/")
    wait_for_a_model(page)
    question = page.get_by_role("textbox", name="Your question")  # and not one that edits
    question.fill("Where is the Zor00vex made?")
    page.get_by_role("button", name="Ask", exact=True).click()
    question.fill("And the next one?")  # typed at once, and not lost to the first one's sending
    reply = page.locator("li[data-role=assistant]")
    expect(reply).to_have_attribute("data-state", "complete", timeout=2 * MINUTE)
    expect(question).to_have_value("And the next one?")
    expect(page.locator("h1")).to_have_text("Where is the Zor00vex made?")
    assert console == []


def wait_for_a_model(page: Page) -> None:
    """Until the promoted model's server is ready: the picker says "waking" before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        chosen = page.locator("select[name=model] option").first.inner_text()
        if "waking" not in chosen and "not running" not in chosen:
            return
        time.sleep(1)
        page.reload()
    pytest.fail("the promoted model was not served in time")


def test_everything_stops_when_asked(product: Product) -> None:
    product.address()
    assert product.stop() == 0
    left = subprocess.run(["pgrep", "-f", str(product.home)], capture_output=True, text=True)
    assert left.stdout.split() == []
