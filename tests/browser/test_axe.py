"""axe in a real browser: no finding, on the screens that hold everything, and on every other.

Best practices count as findings too. The walk over every screen takes minutes and is slow; the
quick one looks at those that are made of all the others' parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from apps.chat.models import Conversation
from apps.evaluation.models import Report
from tests.browser.conftest import NARROW, ROOT, WIDE, Window
from tests.browser.making import fill
from tests.browser.test_pages import addresses, pages

pytestmark = [pytest.mark.browser]

AXE = ROOT / "platform/frontend/node_modules/axe-core/axe.min.js"
LOOK = """async () => (await axe.run(document, {
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  resultTypes: ['violations'],
})).violations.map(each => `${each.id}: ${each.nodes[0].html.slice(0, 160)}`)"""
SIDES = (("light", WIDE), ("dark", NARROW))


def findings(person: Window, paths: Iterable[str]) -> list[str]:
    """What axe finds on each of these pages."""
    if not AXE.exists():
        pytest.fail("axe is not here: run `make setup` first.")
    source, found = AXE.read_text("utf-8"), []
    for path in paths:
        person.open(path)
        person.settle()
        person.page.evaluate(source)
        found += [f"{path} {each}" for each in person.page.evaluate(LOOK)]
    return found


def test_axe_finds_nothing_where_every_part_stands(
    people: Any, window: Callable[..., Window]
) -> None:
    made = fill(people)
    objects = [each for each in made if isinstance(each, Conversation | Report)]
    paths = ["/", "/look/components/", *(each.get_absolute_url() for each in objects)]
    for theme, width in SIDES:
        assert findings(window(people.ada, theme=theme, width=width), paths) == []
        assert findings(window(theme=theme, width=width), ["/accounts/sign-in/"]) == []


@pytest.mark.slow
def test_axe_finds_nothing_on_any_screen(people: Any, window: Callable[..., Window]) -> None:
    found = pages(window(people.ada), addresses(fill(people)))
    for theme, width in SIDES:
        assert findings(window(people.ada, theme=theme, width=width), found) == []
