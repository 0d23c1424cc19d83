"""From the end of a right to the last token: under two seconds, on the page and at the API."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import openai
import pytest
from openai import OpenAI

from apps.accounts.actions import issue_key, remove
from apps.corpora.actions import revoke
from apps.corpora.models import CorpusGrant
from apps.registry.actions import quarantine
from apps.registry.models import Composition
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import MODEL, Visitor, make_model, site
from tests.cast import Cast

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("_quiet")]

BAR = 2.0  # seconds
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
DRIP = b"data: " + json.dumps({"choices": [{"delta": {"content": "so "}}]}).encode() + b"\n\n"


@pytest.fixture
def endless() -> Iterator[str]:
    """The address of a model server that never comes to an end: twenty tokens a second."""
    over = threading.Event()

    def answer(caller: socket.socket) -> None:
        with caller, suppress(OSError):
            caller.recv(65536)
            caller.sendall(HEAD)
            while not over.wait(0.05):
                caller.sendall(DRIP)

    def listen(door: socket.socket) -> None:
        with suppress(OSError):
            while not over.is_set():
                threading.Thread(target=answer, args=(door.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=listen, args=(door,), daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        over.set()


@pytest.fixture
def model(cast: Cast, endless: str) -> Composition:
    return make_model(cast.north, cast.ada, cast.bo, address=endless)


def end(cast: Cast, model: Composition, what: str) -> None:
    with tenant_scope(cast.north):
        if what == "grant":
            revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
        elif what == "quarantine":
            quarantine(model, by=cast.ada, reason="It tells too much.")
        else:
            remove(cast.north, cast.bo, by=cast.ada)


@pytest.mark.parametrize("what", ["grant", "quarantine", "membership"])
def test_a_page_hears_no_token_two_seconds_after(cast: Cast, model: Composition, what: str) -> None:
    with Visitor(cast.bo) as bo:
        asked = bo.ask()
        with closing(bo.events(asked["stream"])) as events:
            next(event for event in events if event.name == "token")
            end(cast, model, what)
            ended = last = time.monotonic()
            for event in events:
                if event.name == "token":
                    last = time.monotonic()
            assert last - ended < BAR
            assert event.data["text"] == ""  # nothing of the answer stays on the page


def test_a_program_hears_no_token_two_seconds_after(cast: Cast, model: Composition) -> None:
    _, secret = issue_key(cast.bo, cast.north, "script")
    with OpenAI(base_url=f"{site()}/v1", api_key=secret, max_retries=0, timeout=30) as client:
        asked = [{"role": "user", "content": "Go on."}]
        stream = client.chat.completions.create(model=MODEL, messages=asked, stream=True)
        next(stream)
        end(cast, model, "grant")
        ended = last = time.monotonic()
        with pytest.raises(openai.APIError, match="right to use this model ended"):  # noqa: PT012  each token is timed
            for _ in stream:
                last = time.monotonic()
        assert last - ended < BAR
