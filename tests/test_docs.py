"""The documentation says what is there: settings, error codes, tasks, links and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calm_engine.wording import WORDING

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
SOURCES = [
    path
    for folder in ("platform/counterpoint", "apps", "workers", "calm_engine")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
SETTING = re.compile(r"""env\.(?:text|flag|number|secret)\(\s*"([A-Z_]+)\"""")
CODE = re.compile(
    r"""(?:Error|Refused|refuse|reject|_refused)\((?:item, )?\s*"([a-z_]+\.[a-z_]+)\""""
)
TASK = re.compile(r"""@task\(\s*"([a-z_.]+)",\s*queue="([a-z]+)\"""")


def found(pattern: re.Pattern[str]) -> set[str]:
    return {match[1] for path in SOURCES for match in pattern.finditer(path.read_text("utf-8"))}


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text("utf-8")


def test_every_setting_is_documented() -> None:
    text = page("settings.md")
    assert {name for name in found(SETTING) if f"`{name}`" not in text} == set()


def test_every_error_code_is_documented() -> None:
    text = page("errors.md")
    assert {code for code in found(CODE) if f"`{code}`" not in text} == set()


def test_the_page_of_codes_says_what_people_read() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", page("errors.md"), re.MULTILINE))
    assert {code for code, told in WORDING.items() if not rows[code].startswith(told)} == set()


def test_every_task_and_its_queue_is_documented() -> None:
    text = page("queues.md")
    tasks = {m.groups() for p in SOURCES for m in TASK.finditer(p.read_text("utf-8"))}
    assert tasks
    assert {name for name, queue in tasks if f"| `{name}` | `{queue}` |" not in text} == set()


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_a_page_names_exists(path: Path) -> None:
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text("utf-8"), re.MULTILINE))
    assert named - made == set()


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = sorted(path.name[:4] for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    assert numbers == [f"{at:04}" for at in range(1, len(numbers) + 1)]
