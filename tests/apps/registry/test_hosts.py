"""Finding a model server and speaking to it; the shapes of failure that a real one rarely shows."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime

import pytest
from django.utils import timezone

from apps.registry import hosts, placements
from apps.registry.hosts import Piece, Refusal
from apps.registry.models import ModelHost, Placement
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InternalError
from tests.apps.chat.making import MODEL, make_model, model_server, place
from tests.cast import Cast

HELLO = [{"role": "user", "content": "hello"}]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
GREEDY = {"temperature": 0, "max_tokens": 30}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
BUSY = (
    b"HTTP/1.1 429 Busy\r\nConnection: close\r\n\r\n"
    b'{"error": {"code": "server.busy", "message": "busy"}}'
)


@contextmanager
def saying(*parts: bytes) -> Iterator[str]:
    """The address of somebody who says these bytes to whoever asks, then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def answer() -> None:
            with door.accept()[0] as caller, suppress(OSError):
                caller.recv(65536)
                for part in parts:
                    caller.sendall(part)
                    time.sleep(0.01)
                caller.shutdown(socket.SHUT_WR)
                while caller.recv(65536):
                    pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        thread.join(5)


async def heard(*addresses: str) -> list[Piece]:
    async with aclosing(
        hosts.stream_chat(addresses, HELLO, model=MODEL, settings=GREEDY)
    ) as pieces:
        return [piece async for piece in pieces]


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def test_a_real_server_streams_pieces() -> None:
    pieces = asyncio.run(heard(model_server().address))
    assert pieces[0] == Piece()
    assert "".join(piece.text for piece in pieces)
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["length"]
    assert pieces[-1].usage is not None
    assert pieces[-1].usage["completion_tokens"] == 30


def test_a_refusal_says_why() -> None:
    async def ask() -> None:
        pieces = hosts.stream_chat((model_server().address,), HELLO, model="other", settings=GREEDY)
        async with aclosing(pieces):
            await anext(pieces)

    with pytest.raises(Refusal) as refused:
        asyncio.run(ask())
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    "parts",
    [
        (),  # hangs up without a word
        (HEAD + event("one"),),  # ends without the end
        (HEAD + b"data: {broken\n\n",),
        (HEAD + b"data: []\n\n",),
        (HEAD, b"x" * (hosts.LINE_LIMIT + 1)),
        (b"nonsense\r\n\r\n",),
    ],
)
def test_a_server_that_fails_midway_is_gone(parts: tuple[bytes, ...]) -> None:
    with saying(*parts) as address, pytest.raises(InternalError, match=r"model\.gone"):
        asyncio.run(heard(address))


def test_a_server_that_is_not_there_is_gone() -> None:
    with pytest.raises(InternalError, match=r"model\.gone"):
        asyncio.run(heard("http://127.0.0.1:9"))


def test_a_fault_midway_is_a_refusal() -> None:
    fault = b'data: {"error": {"message": "no", "code": "server.fault"}}\n\n'
    said = HEAD + event("one") + fault
    with saying(said) as address, pytest.raises(Refusal, match=r"server\.fault"):
        asyncio.run(heard(address))


def test_signs_inside_text_split_no_line() -> None:
    text = "a\u2028b\x85c\x0bd"

    raw = "data: " + json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False)
    whole = raw.encode() + b"\r\n\r\n: alive\n\ndata: [DONE]\n\n"
    with saying(HEAD + whole[:40], whole[40:]) as address:
        pieces = asyncio.run(heard(address))
    assert [piece.text for piece in pieces] == ["", text, ""]


def test_looking_around_ends_a_silent_stream() -> None:
    ended: list[str] = []

    async def silent() -> AsyncGenerator[str]:
        try:
            yield "first"
            await asyncio.sleep(60)
        finally:
            ended.append("closed")

    async def look() -> None:
        raise InternalError("seen.enough")

    async def follow() -> list[str]:
        async with aclosing(hosts.watched(silent(), look, every=0.05)) as pieces:
            return [piece async for piece in pieces]

    with pytest.raises(InternalError, match=r"seen\.enough"):
        asyncio.run(follow())
    assert ended == ["closed"]


@pytest.mark.parametrize(
    ("change", "is_found"),
    [({}, True), ({"state": "stopping"}, False), ({"seen_at": LONG_AGO}, False)],
)
def test_only_a_server_that_answered_lately_is_asked(
    cast: Cast, change: dict[str, object], is_found: bool
) -> None:
    model = make_model(cast.north, cast.ada)
    with tenant_scope(cast.north):
        place(model, "http://127.0.0.1:9")
        Placement.objects.update(**{"seen_at": timezone.now()} | change)
        assert bool(hosts.addresses_of(model)) == is_found


def test_of_two_replicas_each_caller_keeps_one(cast: Cast) -> None:
    model = make_model(cast.north, cast.ada, address="http://127.0.0.1:1")
    people = [f"person {number}" for number in range(40)]
    with tenant_scope(cast.north):
        other = ModelHost.objects.create(name="there")
        second = Placement.objects.create(
            composition=model, host=other, address="http://127.0.0.1:2", state="ready"
        )
        found = {each: hosts.addresses_of(model, caller=each)[0] for each in people}
        assert set(found.values()) == {"http://127.0.0.1:1", "http://127.0.0.1:2"}
        assert found == {each: hosts.addresses_of(model, caller=each)[0] for each in people}
        Placement.objects.filter(pk=second.pk).update(seen_at="2020-01-01T00:00Z")
        assert {hosts.addresses_of(model, caller=each)[0] for each in people} == {
            "http://127.0.0.1:1"
        }


def test_whoever_finds_their_replica_full_goes_to_the_least_busy(cast: Cast) -> None:
    model = make_model(cast.north, cast.ada, address="http://127.0.0.1:1")
    with tenant_scope(cast.north):
        for number, under_way in ((2, 3), (3, 1)):
            Placement.objects.create(
                composition=model,
                host=ModelHost.objects.create(name=f"host {number}"),
                address=f"http://127.0.0.1:{number}",
                state="ready",
                under_way=under_way,
                places=4,
            )
        (mine, *others) = hosts.addresses_of(model, caller="bo")
        assert len(others) == 2
        rows = Placement.objects.filter(address=mine)
        rows.update(under_way=3, places=4)
        assert hosts.addresses_of(model, caller="bo")[0] == mine
        rows.update(under_way=4)
        least = Placement.objects.exclude(address=mine).order_by("under_way").first()
        assert least is not None
        assert hosts.addresses_of(model, caller="bo")[0] == least.address


@pytest.mark.parametrize("before", [(), (HEAD,), (BUSY,)])
def test_a_replica_that_dies_before_its_first_word_is_made_up_for_by_another(
    before: tuple[bytes, ...],
) -> None:
    with saying(*before) as dying:
        pieces = asyncio.run(heard(dying, model_server().address))
    assert "".join(piece.text for piece in pieces)
    assert pieces[-1].usage is not None


def test_after_its_first_word_it_is_not() -> None:
    with saying(HEAD + event("one")) as dying, pytest.raises(InternalError, match=r"model\.gone"):
        asyncio.run(heard(dying, model_server().address))


def test_what_the_request_is_to_blame_for_is_asked_once() -> None:
    body = b'{"error": {"code": "invalid_value", "message": "no"}}'
    refused = b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n" + body
    with saying(refused) as first, pytest.raises(Refusal, match="invalid_value"):
        asyncio.run(heard(first, "http://127.0.0.1:9"))


def test_who_sleeps_is_woken_once_on_one_host(cast: Cast) -> None:
    model = make_model(cast.north, cast.ada)
    with tenant_scope(cast.north):
        place(model, "", state="asleep")
        there = ModelHost.objects.create(name="there")
        Placement.objects.create(composition=model, host=there, state="asleep")
        assert hosts.is_starting(model, now=timezone.now())
        for _ in range(2):
            hosts.wake(model)
        asked = Placement.objects.exclude(asked_at=None)
        assert asked.count() == 1
        (name,) = asked.values_list("host__name", flat=True)
        assert [name for name in ("here", "there") if placements.called(name)] == [name]
        asked.update(asked_at=LONG_AGO)
        assert not placements.called(name)


def test_a_name_means_what_live_names(cast: Cast) -> None:
    first = make_model(cast.north, cast.ada, cast.bo)
    second = make_model(cast.north, cast.ada, version=2)
    with tenant_scope(cast.north):
        assert hosts.model_named(MODEL, by=cast.bo) == second
        assert hosts.model_named(hosts.exact_name(first), by=cast.bo) == first
        assert hosts.model_named(MODEL, by=cast.otto) is None
    with tenant_scope(cast.south):
        assert hosts.model_named(MODEL, by=cast.bo) is None
