"""What the pages of security promise is shown by tests that exist, requirement by requirement."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name: path.read_text("utf-8") for path in (ROOT / "docs" / "security").glob("*.md")}
DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
NAMED = re.compile(r"`(test_\w+)`")
ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
UNSHOWN = ("n/a: ", "site: ", "open: ")
# Of ASVS 5.0.0 the requirements of levels 1 and 2, by section: how many, or which.
ASVS: dict[str, int | list[int]] = {
    "1.1": 2,
    "1.2": 9,
    "1.3": 11,
    "1.4": 3,
    "1.5": 2,
    "2.1": 3,
    "2.2": 3,
    "2.3": 4,
    "2.4": 1,
    "3.2": 2,
    "3.3": 4,
    "3.4": 6,
    "3.5": 5,
    "3.7": 2,
    "4.1": 3,
    "4.2": 1,
    "4.3": 2,
    "4.4": 4,
    "5.1": 1,
    "5.2": 3,
    "5.3": 2,
    "5.4": 3,
    "6.1": 3,
    "6.2": 12,
    "6.3": 4,
    "6.4": 4,
    "6.5": 5,
    "6.6": 3,
    "6.8": 4,
    "7.1": 3,
    "7.2": 4,
    "7.3": 2,
    "7.4": 5,
    "7.5": 2,
    "7.6": 2,
    "8.1": 2,
    "8.2": 3,
    "8.3": 1,
    "8.4": 1,
    "9.1": 3,
    "9.2": 4,
    "10.1": 2,
    "10.2": 2,
    "10.3": 4,
    "10.4": 11,
    "10.5": 5,
    "10.6": 2,
    "10.7": 3,
    "11.1": 2,
    "11.2": 3,
    "11.3": 3,
    "11.4": 4,
    "11.5": 1,
    "11.6": 1,
    "12.1": 3,
    "12.2": 2,
    "12.3": 4,
    "13.1": 1,
    "13.2": 5,
    "13.3": 2,
    "13.4": 5,
    "14.1": 2,
    "14.2": 4,
    "14.3": 3,
    "15.1": 3,
    "15.2": 3,
    "15.3": 7,
    "16.1": 1,
    "16.2": 5,
    "16.3": 4,
    "16.4": 3,
    "16.5": 3,
    "17.1": 1,
    "17.2": 4,
    "17.3": 2,
}


def requirements() -> list[str]:
    """Their numbers, in order."""
    numbers = {
        section: list(range(1, which + 1)) if isinstance(which, int) else which
        for section, which in ASVS.items()
    }
    return [f"{section}.{each}" for section, some in numbers.items() for each in some]


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_a_page_names_exists(name: str) -> None:
    there = {
        each
        for path in (ROOT / "tests").rglob("test_*.py")
        for each in DEFINED.findall(path.read_text("utf-8"))
    }
    assert sorted(set(NAMED.findall(PAGES[name])) - there) == []


def test_every_requirement_of_the_standard_has_its_row() -> None:
    assert [number for number, _words, _shown in ROW.findall(PAGES["asvs.md"])] == requirements()
    assert len(requirements()) == 70 + 183  # of level 1, and of level 2


def test_a_row_shows_what_it_says_or_says_why_not() -> None:
    for number, words, shown in ROW.findall(PAGES["asvs.md"]):
        if words.startswith(UNSHOWN):
            assert len(words.split()) > 2, number
            assert not shown, number
        else:
            assert NAMED.search(shown) or re.search(r"\]\([\w/.-]+\.md\)", shown), number


def test_every_item_and_every_kind_of_bad_input_has_its_row() -> None:
    rows = [line for line in PAGES["hardening.md"].splitlines() if line.startswith("| ")]
    items = [f"LLM{number:02}" for number in range(1, 11)]
    assert [each for each in items if not any(row.startswith(f"| {each}") for row in rows)] == []
    heads = ("| item |", "| what |")
    assert [row for row in rows if not row.startswith(heads) and not NAMED.search(row)] == []
