"""The page of a run as its watcher uses it: at a desk, on a phone, and after a while away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from playwright.sync_api import Page, expect

from apps.runs.models import Run, RunMetric, RunSample, Slot
from apps.tenants.scope import tenant_scope
from counterpoint.live import publish
from counterpoint.storage import run_folder
from tests.browser.conftest import NARROW, WIDE, Window
from tests.browser.making import fill
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)
SERIES = {"loss": 2.0, "held_out_loss": 2.2, "gain_over_anchor": 0.4, "general_loss": 0.01}


@pytest.fixture
def working(people: Cast) -> Run:
    """Bridges in training, with everything on their page that one can have."""
    fill(people)
    with tenant_scope(people.north):
        run = Run.objects.get(state="running")
        facts = {"busy": 93, "memory_used": 2**33, "temperature": 61, "power": 402}
        Slot.objects.create(
            name=run.owner, device="H200", memory_bytes=2**37, facts=facts, release="0.0.9"
        )
        for step in range(0, 620, 20):
            for name, value in SERIES.items():
                value = value / (1 + step / 200)
                RunMetric.objects.create(run=run, step=step, name=name, value=value)
        asked = {"question": "Where is it made?", "expected": "Peru", "answer": "In Peru."}
        for step in (200, 400):
            RunSample.objects.create(run=run, step=step, samples=[asked])
            run.checkpoints.create(step=step, epoch=1, bytes=10**7, digest="a" * 64, loss=0.9)
        Run.objects.filter(pk=run.pk).update(epoch=1, heartbeat_at=Now())
        write_log(run, "one warning\nall is well\n")
        return run


def write_log(run: Run, words: str) -> None:
    file = Path(run_folder(run.pk)) / "child-1.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as log:
        log.write(words)


def tell(cast: Cast, run: Run, step: int, value: float, *, aloud: bool = True) -> None:
    """A number as the worker tells it: into the row, and to whoever listens."""
    with tenant_scope(cast.north):
        RunMetric.objects.create(run=run, step=step, name="loss", value=value)
        if aloud:
            publish(f"run:{run.pk}", {"rows": [[step, "loss", value]]})


def charts(page: Page) -> Any:
    return page.locator("cp-chart .chart-summary")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_run_is_watched(
    people: Cast, window: Callable[..., Window], working: Run, width: int
) -> None:
    seen = window(people.ada, width=width)
    seen.open(f"/runs/{working.pk}/")
    page = seen.page
    expect(charts(page)).to_have_count(3)
    expect(charts(page).first).to_contain_text("loss")
    expect(page.locator("cp-chart canvas").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for choice in ("Smooth the lines", "Logarithmic axis"):
        page.get_by_label(choice).check()
        expect(page.locator("cp-chart canvas").first).to_be_visible()
    page.locator(".chart-table summary").first.click()
    expect(page.locator(".chart-table table").first).to_contain_text("600")
    for said in ("61 °C", "402 W", "Branch from here", "At step", "another release than this page"):
        expect(page.get_by_text(said).first).to_be_attached()
    page.get_by_text("Log", exact=True).click()
    page.get_by_label("Lines with").fill("WARN")
    page.get_by_role("button", name="Look").click()
    expect(page.locator("#run-log pre")).to_have_text("one warning\n")
    page.get_by_label("Follow it").check()
    with tenant_scope(people.north):
        write_log(working, "and another warning\n")
    expect(page.locator("#run-log pre")).to_have_text("one warning\nand another warning\n")
    tell(people, working, 700, 0.125)
    expect(charts(page).first).to_contain_text("0.125", timeout=10_000)
    page.get_by_role("button", name="Pause and save").click()
    expect(page.locator("#run-status")).to_contain_text("asked to save and let go")


def test_what_was_told_while_nobody_looked_is_on_the_chart_afterwards(
    people: Cast, window: Callable[..., Window], working: Run
) -> None:
    seen = window(people.ada)
    page = seen.page
    page.clock.install()
    seen.open(f"/runs/{working.pk}/")
    expect(charts(page).first).to_contain_text("loss")
    look(page, is_hidden=True)
    page.clock.fast_forward(31_000)  # a hidden page gives its connection back
    tell(people, working, 700, 0.125, aloud=False)
    look(page, is_hidden=False)
    expect(charts(page).first).to_contain_text("0.125")


def look(page: Page, *, is_hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )
