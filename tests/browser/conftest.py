"""A real browser before the real site: uvicorn in a process of its own, on the tests' database.

Chromium is the machine's own (CHROMIUM, or the usual names, or Playwright's); without one the tests
fail and say so. Nothing here skips.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from apps.demo.chromium import MISSING, SWITCHES, chromium
from tests.seen import pytest_runtest_makereport
from tests.waiting import free_port

__all__ = ["pytest_runtest_makereport"]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
WIDE, NARROW = 1280, 360
PATIENCE = 60_000  # milliseconds; a busy machine draws its pages slowly, and is not wrong for it
expect.set_options(timeout=PATIENCE)


@dataclass
class Site:
    """The running site: its address."""

    address: str
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site on a free port, with the built assets."""
    with served("counterpoint.asgi:application", tmp_path_factory.mktemp("site")) as started:
        yield started


@contextmanager
def served(application: str, folder: Path, **variables: str) -> Iterator[Site]:
    """A process that serves this, until the end of the block. Its log lies in the folder."""
    if not (ROOT / "platform/frontend/dist/manifest.json").exists():
        pytest.fail("The browser assets are not built: run `make setup` first.")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = folder / "web.log"
    command = [sys.executable, "-m", "uvicorn", application]
    command += ["--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "1"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")]),
        "COUNTERPOINT_URL": address,
        **variables,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=ROOT)
    try:
        wait_until_it_answers(address, process, log)
        yield Site(address)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{address}/healthz", timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    pytest.fail(f"The site did not start:\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="module")
def chromium_browser() -> Iterator[Browser]:
    """One headless browser for a file of tests; it may look up nothing by itself.

    Playwright keeps an event loop in this thread: Django is told that it may query all the same,
    and the loop is gone before the next file, whose tests may want their own.
    """
    path = chromium()
    if not path:
        pytest.fail(MISSING)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


@dataclass
class Window:
    """One person's browser window, and what went wrong in it: the console and foreign requests."""

    page: Page
    context: BrowserContext
    address: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> Any:
        """Go there; returns the answer once its head has come."""
        return self.page.goto(self.address + path, wait_until="commit")

    def settle(self) -> None:
        """Wait for the page and its scripts; a live stream keeps the network busy for ever."""
        self.page.wait_for_load_state("load")
        self.page.wait_for_timeout(80)

    def hear(self, line: ConsoleMessage) -> None:
        is_fault = line.type in ("error", "warning") or "Content Security Policy" in line.text
        # An answer of 4xx that a test asked for is told here too, and is no fault of the page.
        if is_fault and "Failed to load resource" not in line.text:
            self.faults.append(f"{self.page.url} console: {line.text}")


@pytest.fixture
def window(site: Site, chromium_browser: Browser, people: Any) -> Iterator[Callable[..., Window]]:
    """`window(user)` opens a browser in which this person is signed in; nobody by default."""
    with windows(site, chromium_browser) as one:
        yield one


@contextmanager
def windows(site: Site, chromium_browser: Browser) -> Iterator[Callable[..., Window]]:
    """Windows on this site; what went wrong in any of them fails at the end of the block."""
    opened: list[Window] = []

    def one(
        user: Any = None, *, width: int = WIDE, theme: str = "light", language: str = "en"
    ) -> Window:
        context = chromium_browser.new_context(viewport={"width": width, "height": 800})
        context.set_default_timeout(PATIENCE)
        cookies = [{"name": "theme", "value": theme, "url": site.address}]
        cookies.append({"name": "django_language", "value": language, "url": site.address})
        if user is not None:
            cookies.append({"name": "sessionid", "value": session_of(user), "url": site.address})
        context.add_cookies(cookies)  # type: ignore[arg-type]  # a TypedDict, plainly written
        made = Window(context.new_page(), context, site.address)
        made.page.on("console", made.hear)
        made.page.on("pageerror", lambda error: made.faults.append(f"{made.page.url} {error}"))
        context.on("request", lambda sent: stays_here(made, sent.url))
        opened.append(made)
        return made

    yield one
    faults = [fault for each in opened for fault in each.faults]
    for each in opened:
        each.context.close()
    assert not faults, "\n".join(faults)


def stays_here(window: Window, url: str) -> None:
    if not url.startswith((window.address + "/", "blob:")):
        window.faults.append(f"{window.page.url} asked another host: {url}")


def session_of(user: Any) -> str:
    """A session as signing in would make it."""
    from django.test import Client  # noqa: PLC0415  needs Django

    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return str(client.cookies["sessionid"].value)


@pytest.fixture
def people(chromium_browser: Browser, transactional_db: None) -> Any:
    """The cast, committed, so that the site sees it."""
    from tests.cast import make_cast  # noqa: PLC0415  needs Django

    return make_cast()
