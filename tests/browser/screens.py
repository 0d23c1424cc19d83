"""Draws the pictures of docs/screens/, by `make screens`: a command, which judges nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.chat.models import Conversation
from apps.corpora.models import Corpus, Snapshot, Upload
from apps.evaluation.models import Report
from apps.registry.models import Composition
from apps.runs.models import Run
from tests.browser.conftest import NARROW, ROOT, WIDE, Window
from tests.browser.making import fill

pytestmark = [pytest.mark.browser]
FOLDER = ROOT / "docs" / "screens"
QUALITY = 72
SCREENS = {
    "corpus": Corpus,
    "upload": Upload,
    "snapshot": Snapshot,
    "run": Run,
    "report-card": Report,
    "model": Composition,
    "chat": Conversation,
}
PLACES = {"home": "/", "teach": "/teach/", "runs": "/runs/", "audit": "/audit/"}


def test_every_screen_is_drawn(people: Any, window: Callable[..., Window]) -> None:
    made = fill(people)
    addresses = PLACES | {
        name: next(row for row in made if isinstance(row, kind)).get_absolute_url()
        for name, kind in SCREENS.items()
    }
    FOLDER.mkdir(exist_ok=True)
    for theme, width in (("light", WIDE), ("dark", NARROW)):
        ada = window(people.ada, theme=theme, width=width)
        for name, address in addresses.items():
            ada.open(address)
            ada.settle()
            ada.page.wait_for_timeout(600)  # charts draw themselves after their data
            ada.page.screenshot(path=FOLDER / f"{name}-{width}.jpg", type="jpeg", quality=QUALITY)
