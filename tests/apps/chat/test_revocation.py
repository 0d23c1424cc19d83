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
from apps.accounts.models import ProvisionedGroup
from apps.corpora.actions import grant, revoke
from apps.corpora.models import CorpusGrant
from apps.registry.actions import quarantine
from apps.registry.models import Composition
from apps.tenants.models import Group
from apps.tenants.scope import tenant_scope
from tests.apps.accounts.test_scim import GROUP, USER, Directory
from tests.apps.chat.making import MODEL, Visitor, make_model, site
from tests.cast import Cast
from tests.waiting import Starved

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("_quiet")]

BAR = 2.0  # seconds
IN_TURN = 3  # processes that answer in turn: the site, the database, the model server
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
    if what.startswith("directory"):
        end_by_directory(cast, what)
        return
    with tenant_scope(cast.north):
        if what == "grant":
            revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
        elif what == "quarantine":
            quarantine(model, by=cast.ada, reason="It tells too much.")
        else:
            remove(cast.north, cast.bo, by=cast.ada)


def end_by_directory(cast: Cast, what: str) -> None:
    """As the tenant's directory does, by SCIM: one word about a person, or a group without them."""
    directory = Directory(cast.north, cast.ada)
    if what == "directory":
        code = cast.bo.pk
        gone = {"op": "replace", "path": "active", "value": False}
        assert directory.patch(f"Users/{code}", gone)[0] == 200
        return
    with tenant_scope(cast.north):
        group = ProvisionedGroup.objects.get().group_id
    gone = {"op": "remove", "path": f'members[value eq "{cast.bo.pk}"]'}
    assert directory.patch(f"Groups/{group}", gone)[0] == 200


def know_by_directory(cast: Cast, what: str) -> None:
    """Let the directory keep Bo, and for a group let his right come from it alone."""
    directory = Directory(cast.north, cast.ada)
    told = {"schemas": [USER], "userName": cast.bo.email, "displayName": cast.bo.name}
    assert directory.send("post", "Users", told)[0] == 201
    if what == "directory":
        return
    told = {"schemas": [GROUP], "displayName": "Field", "members": [{"value": str(cast.bo.pk)}]}
    _, made = directory.send("post", "Groups", told)
    with tenant_scope(cast.north):
        right = CorpusGrant.objects.get(user=cast.bo)
        grant(right.corpus, Group.objects.get(pk=made["id"]), "read", by=cast.ada)
        revoke(right, by=cast.ada)


@pytest.mark.parametrize(
    "what", ["grant", "quarantine", "membership", "directory", "directory's group"]
)
def test_a_page_hears_no_token_two_seconds_after(cast: Cast, model: Composition, what: str) -> None:
    if what.startswith("directory"):
        know_by_directory(cast, what)
    with Visitor(cast.bo) as bo:
        asked = bo.ask()
        with closing(bo.events(asked["stream"])) as events:
            next(event for event in events if event.name == "token")
            end(cast, model, what)
            ended = last = time.monotonic()
            with Starved() as machine:
                for event in events:
                    if event.name == "token":
                        last = time.monotonic()
            assert last - ended < BAR + IN_TURN * machine.seconds
            assert event.data["text"] == ""  # nothing of the answer stays on the page


def test_a_program_hears_no_token_two_seconds_after(cast: Cast, model: Composition) -> None:
    _, secret = issue_key(cast.bo, cast.north, "script")
    with OpenAI(base_url=f"{site()}/v1", api_key=secret, max_retries=0, timeout=30) as client:
        asked = [{"role": "user", "content": "Go on."}]
        stream = client.chat.completions.create(model=MODEL, messages=asked, stream=True)
        next(stream)
        end(cast, model, "grant")
        ended = last = time.monotonic()
        ends = pytest.raises(openai.APIError, match="right to use this model ended")
        with Starved() as machine, ends:
            for _ in stream:
                last = time.monotonic()
        assert last - ended < BAR + IN_TURN * machine.seconds
