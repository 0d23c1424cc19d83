"""Every form of the site, filled in with nonsense: 10,000 letters, controls, turned order.

Each is sent as the page would send it. Whatever the answer is, it is one: no page breaks, and those
that show what was kept still open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from lxml import html

from tests.addresses import addresses
from tests.browser.making import fill
from tests.cast import Cast

NONSENSE = {
    "very long": "n" * 10_000,
    "controls": "\x00\x1b[31m\x7f \u202eturned\u2028 <b>{{ 7 }}%s",
    "numbers that are none": "-9" * 40,
}
TYPED = ("text", "search", "email", "number", "date", "password", "url", "tel", "color")
# Wait for a model server, or end the session that walks; the forms have tests of their own.
APART = ("/chat/ask", "/influence", "/accounts/sign-out", "/accounts/logout", "/i18n/", "/mfa/")
# Streams do not end, and files are no pages.
STREAMS = ("/events", "/streamz", ".parquet", "/original/", ".csv", "/export")


@dataclass(frozen=True)
class Form:
    """A form as a page offers it; `typed` names the fields that a person writes in."""

    page: str
    action: str
    method: str
    fields: tuple[tuple[str, str], ...]
    typed: tuple[str, ...]


def forms(client: Client, paths: set[str]) -> Iterator[Form]:
    """Every form with something to type into, once for each action and its fields."""
    seen = set()
    for path in sorted(path for path in paths if not path.endswith(STREAMS)):
        answer = client.get(path)
        if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
            continue
        page = html.fromstring(answer.content)
        page.make_links_absolute(f"http://testserver{path}")
        for form in page.forms:
            action = str(form.action or path).removeprefix("http://testserver")
            typed = tuple(
                field.name
                for field in form.inputs
                if field.name and (field.tag == "textarea" or getattr(field, "type", "") in TYPED)
            )
            mark = (action.partition("?")[0], typed)
            if not typed or mark in seen or any(part in action for part in APART):
                continue
            seen.add(mark)
            fields = tuple((str(name), str(value)) for name, value in form.form_values())
            yield Form(path, action, str(form.method), fields, typed)


@pytest.mark.parametrize("kind", NONSENSE)
def test_no_form_breaks_whatever_is_typed(cast: Cast, kind: str) -> None:
    ada = cast.client(cast.ada)
    ada.raise_request_exception = False  # told below, all of them
    made = fill(cast)
    found = list(forms(ada, set(addresses(made))))
    assert len(found) > 25
    broken = []
    for form in found:
        told: dict[str, Any] = dict(form.fields) | dict.fromkeys(form.typed, NONSENSE[kind])
        with transaction.atomic():
            send = ada.get if form.method.lower() == "get" else ada.post
            status = send(form.action, told, follow=True).status_code
            again = ada.get(form.page).status_code
            transaction.set_rollback(True)
        if status >= 500 or again >= 500:
            broken.append(f"{form.action} of {form.page}: {status}, then {again}")
    assert not broken, "\n".join(broken)
