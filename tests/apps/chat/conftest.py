"""A model of Ada's, readable by Bo, answered for by a real server; and nothing left under way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.chat.actions import stop
from apps.chat.models import Message
from apps.registry.models import Composition
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import Server, Visitor, make_model, model_server
from tests.cast import Cast
from tests.waiting import wait_until


@pytest.fixture
def server() -> Server:
    return model_server()


@pytest.fixture
def model(cast: Cast, server: Server) -> Composition:
    return make_model(cast.north, cast.ada, cast.bo, address=server.address)


@pytest.fixture
def bo(cast: Cast) -> Iterator[Visitor]:
    with Visitor(cast.bo) as visitor:
        yield visitor


@pytest.fixture
def _quiet(cast: Cast) -> Iterator[None]:
    """Relays write rows: none may be at work when the rows are swept away."""
    yield

    def is_quiet() -> bool:
        with tenant_scope(cast.north):
            for reply in Message.objects.active():
                stop(reply, by=cast.bo)
            return not Message.objects.active().exists()

    assert wait_until(is_quiet)
