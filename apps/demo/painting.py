"""Measures what a person sees in Chromium: the largest paint, interactions, shifts, script.

The profile is throttled: a company network of 10 Mbit/s with 40 ms to and fro, a processor at half
its speed. Knows no database; the page is the running site's.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from playwright.sync_api import Page, Response, sync_playwright

from apps.demo.chromium import SWITCHES, chromium
from calm_engine.figures import Figure

LOADS = 5  # of each page, with an empty cache each time
SLOWER = 2  # times, the processor
SPEEDS = ("downloadThroughput", "uploadThroughput")
NETWORK = {"offline": False, "latency": 40, **dict.fromkeys(SPEEDS, 1.25e6)}  # ms, bytes/s
PAINT, INTERACTION, SHIFT = 1_200, 100, 0.02  # ms, ms, score
SCRIPT, CHAT_SCRIPT = 60_000, 90_000  # bytes, gzipped
SETTLED = 1_200  # ms after load: charts and formulas draw themselves

# Runs before the page's own scripts, put there by the browser and not by the page.
WATCH = """
window.seen = {paint: 0, shift: 0, slowest: 0, interactions: 0};
new PerformanceObserver(list => {
  for (const each of list.getEntries()) seen.paint = Math.max(seen.paint, each.startTime);
}).observe({type: 'largest-contentful-paint', buffered: true});
new PerformanceObserver(list => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) seen.shift += each.value;
}).observe({type: 'layout-shift', buffered: true});
new PerformanceObserver(list => {
  for (const each of list.getEntries()) {
    if (!each.interactionId) continue;
    seen.interactions += 1;
    seen.slowest = Math.max(seen.slowest, each.duration);
  }
}).observe({type: 'event', buffered: true, durationThreshold: 16});
"""


@dataclass
class Seen:
    """Several loads of one page."""

    paint: list[float] = field(default_factory=list)  # ms
    shift: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)  # ms, of the interactions of one load
    script: int = 0  # bytes, gzipped


def paints(address: str, email: str, password: str, paths: Mapping[str, str]) -> Iterator[Figure]:
    """Each of these pages as this person sees it."""
    with person(address, email, password) as browse:
        for name, path in paths.items():
            seen = Seen()
            for _ in range(LOADS):
                look(browse, address + path, seen)
            told = f"median of {LOADS} cold loads, throttled"
            yield Figure(f"paint_{name}", median(seen.paint), "ms", told, PAINT)
            slowest = median(seen.slowest)
            yield Figure(f"interaction_{name}", slowest, "ms", "slowest of each load", INTERACTION)
            yield Figure(f"shift_{name}", max(seen.shift), "score", "worst load", SHIFT)
            most = CHAT_SCRIPT if name in ("chat", "conversation") else SCRIPT
            yield Figure(f"script_{name}", seen.script, "bytes", "gzipped", most)


@contextmanager
def person(address: str, email: str, password: str) -> Iterator[Any]:
    """A signed-in browser on the throttled profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=SWITCHES)
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.add_init_script(WATCH)
        page = context.new_page()
        page.goto(f"{address}/accounts/sign-in/")
        page.fill("main input[type=email]", email)
        page.fill("main input[type=password]", password)
        page.click("main form button")
        page.wait_for_url(f"{address}/")
        page.close()
        yield context
        browser.close()


def look(context: Any, address: str, seen: Seen) -> None:
    """One load with nothing kept, and what a person does first: keys, a fold, words in a field."""
    page: Page = context.new_page()
    answers: list[Response] = []
    page.on("response", answers.append)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    session.send("Network.emulateNetworkConditions", NETWORK)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.goto(address, wait_until="load")
    page.wait_for_timeout(SETTLED)
    seen.script = sum(script_bytes(each) for each in answers)
    told = page.evaluate("seen")
    seen.paint.append(told["paint"])
    seen.shift.append(told["shift"])
    interact(page)
    seen.slowest.append(page.evaluate("seen.slowest"))
    page.close()


def script_bytes(answer: Response) -> int:
    is_script = answer.request.resource_type == "script" and answer.ok
    return len(gzip.compress(answer.body(), 9)) if is_script else 0


def interact(page: Page) -> None:
    for _ in range(3):
        page.keyboard.press("Tab")
    folds = page.locator("main summary:visible")
    if folds.count():
        folds.first.click()
    field_here = page.locator("main textarea:visible, main input[type=search]:visible")
    if field_here.count():
        field_here.first.click()
        page.keyboard.type("What is it made of?", delay=30)
    page.locator("[data-theme-choice=dark]").click()
    page.locator("[data-theme-choice=light]").click()
    page.wait_for_timeout(400)
