"""What a browser showed when its test failed: a time limit alone tells nobody what stood there.

A conftest whose tests drive a browser takes the hook in:
`from tests.seen import pytest_runtest_makereport`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page

from tests.product import Product

LOOK = 5_000  # milliseconds; the page may be gone
TAIL = 4_000  # characters of a log


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Add to a failed test's report what its pages showed, and the log of its product."""
    report: pytest.TestReport = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        report.sections += list(seen(item.funcargs.values()))
    return report


def seen(things: Any) -> Iterator[tuple[str, str]]:
    for each in things:
        if isinstance(each, Browser):
            pages = [page for context in each.contexts for page in context.pages]
            yield from ((f"page {page.url}", words(page)) for page in pages)
        elif isinstance(each, Product):
            log = (each.home / "services.log").read_text(encoding="utf-8", errors="replace")
            yield "the product's log", log[-TAIL:]


def words(page: Page) -> str:
    try:
        return page.locator("body").inner_text(timeout=LOOK)
    except Error as error:
        return f"could not be read: {error.message}"
