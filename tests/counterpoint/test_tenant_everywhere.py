"""Outside the database nothing keeps tenants apart but their names: each stands in each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apps.accounts import quotas
from apps.accounts.actions import issue_key
from apps.accounts.models import Quota
from apps.api import limits
from apps.tenants.scope import tenant_scope
from counterpoint import live
from counterpoint.middleware import tenant_of_request
from counterpoint.storage import blobs, run_folder
from tests.cast import Cast

# Keys of no tenant, each with its reason.
OF_THE_SITE = {
    "site:": "codes of second factors that were used, before a tenant is known",
    "_kombu": "queues of the broker: messages hold ids alone",
    "unacked": "messages of the broker that are being worked on",
    "short": "a queue",
    "ingest": "a queue",
    "gpu": "a queue",
}


@pytest.fixture
def broker() -> Any:
    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as client:
        yield client


def test_every_key_that_the_product_writes_begins_with_its_tenant(cast: Cast, broker: Any) -> None:
    before = set(broker.scan_iter(count=1000))
    key, _ = issue_key(cast.ada, cast.north, "script")
    with tenant_scope(cast.north):
        Quota.objects.create(kind=Quota.Kind.TOKENS, amount=10)
        quotas.spend(cast.ada, Quota.Kind.TOKENS, 1)
        limits.seconds_to_wait(key)
        asyncio.run(live.append("reply:1", {"event": "token"}))
    written = set(broker.scan_iter(count=1000)) - before
    ours = {name for name in written if not name.startswith(tuple(OF_THE_SITE))}
    assert len(ours) == 3
    assert all(name.startswith(f"t:{cast.north.pk}:") for name in ours), ours


def test_every_file_and_working_folder_lies_under_its_tenant(cast: Cast) -> None:
    with tenant_scope(cast.north):
        stored = blobs().put("text", b"words of North")
        places = [blobs().path("text", stored.digest), run_folder(cast.ada.pk)]
    for place in places:
        inside = Path(place).relative_to(settings.HOME).parts
        assert inside[1] == str(cast.north.pk)


def test_every_line_of_a_request_names_the_tenant_and_the_person_by_id(cast: Cast) -> None:
    seen: dict[str, Any] = {}

    def view(_request: HttpRequest) -> HttpResponse:
        seen.update(structlog.contextvars.get_contextvars())
        return HttpResponse()

    request = HttpRequest()
    request.user, request.session = cast.ada, {}  # type: ignore[assignment]  # enough of one
    tenant_of_request(view)(request)
    assert seen == {"user": str(cast.ada.pk), "tenant": str(cast.north.pk)}


def test_a_forged_header_names_no_tenant(cast: Cast) -> None:
    client = cast.client(cast.cy)
    forged = {"X-Tenant": "north", "X-Tenant-Id": str(cast.north.pk), "Host": "127.0.0.1"}
    for name, value in forged.items():
        page = client.get("/audit/", headers={name: value}).content.decode()
        assert "South" in page
        assert "North" not in page
