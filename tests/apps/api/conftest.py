"""Bo's key for a model that a real server answers for, and the official client with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from openai import OpenAI

from apps.accounts.actions import issue_key
from apps.accounts.models import ApiKey
from apps.registry.models import Composition
from tests.apps.chat.making import Server, make_model, model_server, site
from tests.cast import Cast


@pytest.fixture
def server() -> Server:
    return model_server()


@pytest.fixture
def model(cast: Cast, server: Server) -> Composition:
    return make_model(cast.north, cast.ada, cast.bo, address=server.address)


@pytest.fixture
def key(cast: Cast) -> tuple[ApiKey, str]:
    return issue_key(cast.bo, cast.north, "script")


@pytest.fixture
def connect() -> Iterator[Callable[[str], OpenAI]]:
    """A client for the text of a key; closed afterwards."""
    opened: list[OpenAI] = []

    def client(secret: str) -> OpenAI:
        made = OpenAI(base_url=f"{site()}/v1", api_key=secret, max_retries=0, timeout=30)
        opened.append(made)
        return made

    yield client
    for each in opened:
        each.close()


@pytest.fixture
def client(connect: Callable[[str], OpenAI], key: tuple[ApiKey, str]) -> OpenAI:
    return connect(key[1])
