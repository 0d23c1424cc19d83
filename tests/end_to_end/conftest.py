"""The whole product in an empty home folder, and a browser before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from apps.demo.chromium import SWITCHES, chromium
from tests.product import Product, running
from tests.seen import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("product")) as started:
        yield started


@pytest.fixture
def chrome() -> Iterator[Browser]:
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=chromium(), args=SWITCHES)
        yield launched
        launched.close()
