"""What each page asks of the database: few questions, and no more of them for more rows."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.corpora.actions import create_corpus
from apps.tenants.scope import tenant_scope
from tests.addresses import addresses
from tests.apps.chat.making import make_model
from tests.browser.making import fill
from tests.cast import Cast

MOST = 12


def asked(client: Client, path: str) -> list[str] | None:
    """The questions of one page; None where there is no page."""
    with CaptureQueriesContext(connection) as found:
        answer = client.get(path)
    for close in answer._resource_closers:  # `close` itself would end this test's own connection
        close()
    if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
        return None
    return [each["sql"] for each in found if each["sql"].startswith("SELECT")]


@pytest.mark.parametrize("who", ["ada", "bo", "otto"])
def test_each_page_asks_at_most_twelve_questions(cast: Cast, who: str) -> None:
    paths = set(addresses(fill(cast)))
    for name in ("one", "two", "three"):
        make_model(cast.north, cast.ada, cast.bo, name=name)
    make_model(cast.north, cast.ada, name="locked")
    with tenant_scope(cast.north):
        for name in ("four", "five"):
            create_corpus(name, by=cast.ada)
    client = cast.client(getattr(cast, who))
    client.get("/")  # what the first page of a process learns once is not a page's price
    found = {path: asked(client, path) for path in sorted(paths)}
    over = {path: len(some) for path, some in found.items() if some and len(some) > MOST}
    assert over == {}, "\n".join(max((found[path] or [] for path in over), key=len, default=[]))
    assert sum(some is not None for some in found.values()) > 20
