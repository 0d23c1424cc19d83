"""Sending large files from a real browser: in pieces, and on from where a closed page stopped."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from apps.corpora.actions import create_corpus
from apps.corpora.models import Transfer, UploadItem
from apps.tenants.scope import tenant_scope
from tests.browser.conftest import Window

pytestmark = [pytest.mark.browser]

ENDS = (8_000_000, 16_000_000)  # of the first pieces; the last one ends with the file


def slowly(page: Page) -> None:
    """Send no faster than a piece in some seconds."""
    line = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 3_000_000}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", line)


def test_a_page_that_was_closed_goes_on_where_it_stopped(
    window: Callable[..., Window], people: Any, tmp_path: Path
) -> None:
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    small.write_text("Country: Peru")
    large.write_bytes(b"Country: Peru, once more. " * 700_000)  # three pieces
    with tenant_scope(people.north):
        corpus = create_corpus("Large", by=people.ada)
    seen = window(people.ada)
    seen.open(corpus.get_absolute_url())
    slowly(seen.page)  # nothing stands between page and site: what intercepts a piece may lose it
    with seen.page.expect_response(lambda answer: answer.request.method == "PATCH"):
        seen.page.set_input_files("cp-upload input[name=files]", [small, large])
    seen.page.close()  # in the middle of the second piece
    with tenant_scope(people.north):
        safe = Transfer.objects.get().position
        assert safe in ENDS
        assert UploadItem.objects.get().path == "small.txt"

    seen.page = seen.context.new_page()
    pieces: list[int] = []
    seen.page.on(
        "request",
        lambda request: (
            request.method == "PATCH" and pieces.append(int(request.headers["upload-offset"]))
        ),
    )
    seen.open(corpus.get_absolute_url())
    seen.page.set_input_files("cp-upload input[name=files]", [small, large])
    expect(seen.page).to_have_url(re.compile("/corpora/uploads/"))
    # What of the second piece had left the page may have arrived whole behind its back.
    assert pieces[0] >= safe
    assert pieces == [end for end in ENDS if end >= pieces[0]]
    expect(seen.page.locator("#upload-card")).to_contain_text("2 received")
    with tenant_scope(people.north):
        assert not Transfer.objects.exists()
