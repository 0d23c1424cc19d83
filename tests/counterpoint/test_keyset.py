"""Pages of a list by key: each row once, there and back, whatever comes or goes meanwhile."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.corpora.actions import create_corpus
from apps.corpora.models import Corpus
from apps.tenants.scope import tenant_scope
from counterpoint.keyset import Order, Page, page_among, page_of
from tests.cast import Cast

NAME = Order("name", "name", ("name", "pk"))
NEWEST = Order("new", "newest", ("-created_at", "pk"))
BY_OWNER = Order("owner", "owner", ("owner__name", "-withdrawn_days", "name"))
ORDERS = (NAME, NEWEST, BY_OWNER)
CHECKS = [HealthCheck.function_scoped_fixture]


def there(ask: Any) -> list[Page[Any]]:
    """Every page from the first on."""
    pages = [ask({})]
    while pages[-1].after:
        pages.append(ask({"after": pages[-1].after}))
    return pages


def back(ask: Any, last: Page[Any]) -> list[Page[Any]]:
    pages = [last]
    while pages[-1].before:
        pages.append(ask({"before": pages[-1].before}))
    return pages


@pytest.fixture
def many(cast: Cast) -> Cast:
    """Corpora of two owners, some of them alike in all that a list is sorted by but their ids."""
    with tenant_scope(cast.north):
        Corpus.objects.bulk_create(
            Corpus(name=f"{number:02}", owner=owner, withdrawn_days=number % 3)
            for number in range(23)
            for owner in [cast.ada if number % 2 else cast.bo]
        )
    return cast


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.name)
@pytest.mark.parametrize("size", [1, 4, 23, 50])
def test_every_row_stands_on_one_page_there_and_back(many: Cast, order: Order, size: int) -> None:
    with tenant_scope(many.north):
        rows = Corpus.objects.select_related("owner")

        def ask(told: dict[str, str]) -> Page[Corpus]:
            return page_of(rows, told | {"sort": order.name}, *ORDERS, size=size)

        pages = there(ask)
        every = [row.pk for page in pages for row in page]
        assert every == list(rows.order_by(*order.fields).values_list("pk", flat=True))
        returned = back(ask, pages[-1])
        assert not returned[-1].before
        assert [row.pk for page in reversed(returned) for row in page] == every


def test_a_key_outlives_its_row_and_shifts_nothing(many: Cast) -> None:
    with tenant_scope(many.north):
        rows = Corpus.objects.all()
        first = page_of(rows, {}, NAME, size=5)
        first.rows[-1].delete()
        create_corpus("00a", by=many.ada)
        second = page_of(rows, {"after": first.after}, NAME, size=5)
        assert [row.name for row in second] == ["05", "06", "07", "08", "09"]


def token(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


NONSENSE = st.one_of(
    st.text(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ).map(token),
    st.just(token([["a"] * 9] * 9)),
    st.just("A" * 5_000),
)


@settings(max_examples=60, deadline=None, suppress_health_check=CHECKS)
@given(after=NONSENSE, before=NONSENSE, order=st.sampled_from(ORDERS))
def test_a_key_that_is_none_breaks_no_page(
    many: Cast, after: str, before: str, order: Order
) -> None:
    told = {"after": after, "before": before, "sort": order.name}
    with tenant_scope(many.north):
        assert len(page_of(Corpus.objects.all(), told, *ORDERS, size=5)) > 0
    assert len(page_among(range(9), told, lambda number: (number,), size=5)) > 0


@given(st.lists(st.integers(0, 50), unique=True), st.integers(1, 9))
def test_a_list_at_hand_is_walked_alike(numbers: list[int], size: int) -> None:
    items = sorted(numbers)

    def ask(told: dict[str, str]) -> Page[int]:
        return page_among(items, told, lambda number: (number,), size=size)

    pages = there(ask)
    assert [number for page in pages for number in page] == items
    if items:
        assert {number for page in back(ask, pages[-1]) for number in page} == set(items)


def test_a_list_may_begin_in_its_middle() -> None:
    page = page_among(range(30), {}, lambda number: (number,), size=10, skipped=10)
    assert list(page) == list(range(10, 20))
    assert page.before
    assert page.after


def test_no_list_is_sorted_by_what_is_no_field(many: Cast) -> None:
    with tenant_scope(many.north), pytest.raises(ValueError, match="sorted by nothing"):
        page_of(Corpus.objects.all(), {}, Order("x", "", ("nothing",)), size=5)
