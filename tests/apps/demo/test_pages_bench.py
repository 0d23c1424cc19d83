"""What `bench_pages` measures, in small: each page opens, and asks the database twelve times."""

from __future__ import annotations

from apps.demo.company import gathered
from apps.demo.measuring import asked_again, signed_in
from apps.demo.pages_measuring import QUERIES, addresses
from apps.tenants.scope import tenant_scope
from tests.cast import Cast


def test_no_page_asks_more_than_twelve_times(cast: Cast) -> None:
    with tenant_scope(cast.north):
        company = gathered(cast.north, cast.ada, share=0.004)
        paths = addresses(company)
    ada = signed_in(cast.ada)
    asked = {name: asked_again(ada, path, 1)[1] for name, path in paths.items()}
    assert {name: count for name, count in asked.items() if count > QUERIES} == {}
