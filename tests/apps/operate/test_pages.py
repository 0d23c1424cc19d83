"""The page of health, with the time of its look, and the page of parts and licences."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from pytest_django import Settings

from apps.operate.views import FOUND
from tests.cast import Cast
from tests.waiting import free_port


@pytest.fixture(autouse=True)
def _nobody_looked() -> None:
    cache.delete(FOUND)


def test_nothing_is_called_well_before_somebody_looked(cast: Cast) -> None:
    page = cast.client(cast.ada).get("/health/").content.decode()
    assert "The doctor has not looked yet." in page
    assert 'data-state="ok"' not in page


def test_the_doctors_findings_stand_with_their_time_the_worst_first(
    cast: Cast, settings: Settings
) -> None:
    settings.SITE_URL = f"http://127.0.0.1:{free_port()}"  # not where another site may listen
    ada = cast.client(cast.ada)
    page = ada.post("/health/examine", follow=True).content.decode()
    assert "Looked at: <time" in page
    assert "PostgreSQL 18" in page
    # The site of this test listens nowhere: that is found, and said first.
    assert page.index('data-state="bad"') < page.index('data-state="ok"')
    assert "PostgreSQL 18" in cast.client(cast.otto).get("/health/").content.decode()


@pytest.mark.parametrize("path", ["/health/", "/health/examine"])
def test_an_employee_is_told_what_is_lacking(cast: Cast, path: str) -> None:
    bo = cast.client(cast.bo)
    answer = bo.post(path) if path.endswith("examine") else bo.get(path)
    assert answer.status_code == 403


def test_everybody_reads_what_it_is_made_of(cast: Cast) -> None:
    page = cast.client(cast.bo).get("/about/").content.decode()
    assert ">Django<" in page or ">django<" in page
    assert "BSD" in page
