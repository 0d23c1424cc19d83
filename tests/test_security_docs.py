"""The table of hardening names tests that exist, and every chapter and item has its row."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "docs" / "security" / "hardening.md").read_text("utf-8")
DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def test_every_test_that_the_table_names_exists() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in DEFINED.findall(path.read_text("utf-8"))
    }
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    assert len(named) > 60
    assert sorted(named - there) == []


def test_every_chapter_and_item_has_its_row() -> None:
    rows = [line.split("|")[1].strip() for line in TABLE.splitlines() if line.startswith("| ")]
    wanted = [f"V{number}" for number in range(1, 18)]
    wanted += [f"LLM{number:02}" for number in range(1, 11)]
    assert [each for each in wanted if not any(row.startswith(f"{each} ") for row in rows)] == []
