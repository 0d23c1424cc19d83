"""Answers as they are written: by a real model server, through the site, to one or more tabs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.actions import remove
from apps.chat import relay
from apps.chat.actions import close_left_behind
from apps.chat.models import Message, State
from apps.corpora.actions import revoke
from apps.corpora.models import CorpusGrant
from apps.registry.models import Composition, Placement
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import (
    CONTEXT,
    LONG,
    ROOT,
    Server,
    Visitor,
    make_model,
    place,
    reply_of,
    said,
    start_server,
    stop_server,
)
from tests.cast import Cast
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("_quiet")]


@pytest.fixture
def _watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights are asked more often than the little model takes to answer."""
    monkeypatch.setattr(relay, "KEEP_SECONDS", 0.2)


def test_an_answer_is_streamed_and_kept(cast: Cast, model: Composition, bo: Visitor) -> None:
    asked = bo.ask("Where is it made?")
    events = list(bo.events(asked["stream"]))
    notes = [event.data["note"] for event in events if event.name == "state"]
    assert notes == ["Waiting for its turn", "Reading your question", "Writing"]
    end = events[-1]
    assert end.name == "done"
    assert end.data["state"] == "complete"
    assert said(events) == end.data["text"] != ""
    assert all(event.id for event in events)
    reply = reply_of(cast, asked["message"])
    assert (reply.state, reply.text) == (State.COMPLETE, end.data["text"])
    assert reply.composition == model
    assert reply.settings["temperature"] == 0
    assert reply.seed is not None
    assert reply.usage["completion_tokens"] > 0
    again = list(bo.events(asked["stream"], after="nonsense"))  # from the row: it has ended
    assert [(event.name, event.data["text"]) for event in again] == [("done", reply.text)]


def test_an_answer_made_once_more_tells_what_moved_each_word(
    cast: Cast, model: Composition, bo: Visitor
) -> None:
    asked = bo.ask("Where is it made?")
    text = bo.end(asked["stream"]).data["text"]
    page = bo.post(f"/chat/messages/{asked['message']}/influence").text
    assert "data-shade=" in page
    assert re.search(r"moved \d+ % of the pieces", page)
    with tenant_scope(cast.north):
        Message.objects.filter(pk=asked["message"]).update(text=text + " And more.")
    page = bo.post(f"/chat/messages/{asked['message']}/influence").text
    assert "came out in other words" in page
    assert "data-shade=" not in page


def test_a_reader_resumes_where_it_left_off(model: Composition, bo: Visitor) -> None:
    asked = bo.ask()
    seen = bo.first_tokens(asked["stream"], 4)
    rest = list(bo.events(asked["stream"], after=seen[-1].id))
    assert not {event.id for event in seen} & {event.id for event in rest}
    assert said(seen) + said(rest) == rest[-1].data["text"]


def test_a_second_tab_sees_the_whole_answer(model: Composition, bo: Visitor) -> None:
    asked = bo.ask()
    with closing(bo.events(asked["stream"])) as first:
        begun = [next(first) for _ in range(5)]
        second = list(bo.events(asked["stream"]))
        begun += list(first)
    assert said(begun) == said(second) == second[-1].data["text"]


def test_closing_the_tab_is_not_stop(cast: Cast, model: Composition, bo: Visitor) -> None:
    asked = bo.ask()
    bo.first_tokens(asked["stream"])
    assert wait_until(lambda: reply_of(cast, asked["message"]).state == State.COMPLETE)


def test_stop_ends_the_answer_and_frees_the_model(
    cast: Cast, model: Composition, bo: Visitor, server: Server
) -> None:
    before = server.count("cancelled")
    asked = bo.ask()
    bo.first_tokens(asked["stream"])
    assert bo.post(asked["stop"]).status_code == 202
    end = bo.end(asked["stream"])
    assert end.data["state"] == "stopped"
    assert end.data["note"].startswith("Stopped after")
    assert server.waits_for("cancelled", before + 1)
    reply = reply_of(cast, asked["message"])
    assert (reply.state, reply.text) == (State.STOPPED, end.data["text"])


@pytest.mark.usefixtures("_watchful")
def test_the_end_of_a_right_ends_the_stream(cast: Cast, model: Composition, bo: Visitor) -> None:
    asked = bo.ask()
    with closing(bo.events(asked["stream"])) as events:
        next(event for event in events if event.name == "token")
        with tenant_scope(cast.north):
            revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
        end = list(events)[-1]
    assert end.data["state"] == "failed"
    assert end.data["text"] == ""
    assert "right to use this model ended" in end.data["note"]
    assert reply_of(cast, asked["message"]).failure == "reply.barred"
    page = bo.http.get(asked["url"]).text
    assert "Needs the right to read handbook papers" in page
    assert "chat-messages" not in page
    told_later = bo.end(asked["stream"])
    assert told_later.data["text"] == ""


@pytest.mark.usefixtures("_watchful")
def test_leaving_the_tenant_ends_the_stream(cast: Cast, model: Composition, bo: Visitor) -> None:
    asked = bo.ask()
    with closing(bo.events(asked["stream"])) as events:
        next(event for event in events if event.name == "token")
        remove(cast.north, cast.bo, by=cast.ada)
        assert list(events)[-1].data["state"] == "failed"


def test_a_model_that_is_not_running_keeps_the_question(cast: Cast, bo: Visitor) -> None:
    make_model(cast.north, cast.ada, cast.bo)
    asked = bo.ask("Is anybody there?")
    end = bo.end(asked["stream"])
    assert end.data["state"] == "failed"
    assert "is not running" in end.data["note"]
    page = bo.http.get(asked["url"]).text
    assert "Is anybody there?" in page
    assert "Ask again" in page


def test_a_waking_model_is_waited_for(cast: Cast, server: Server, bo: Visitor) -> None:
    model = make_model(cast.north, cast.ada, cast.bo)
    with tenant_scope(cast.north):
        place(model, "", state="starting")
    asked = bo.ask("Where is it made?")
    with closing(bo.events(asked["stream"])) as events:
        assert "Waking the model" in [next(events) for _ in range(2)][1].data["note"]
        with tenant_scope(cast.north):
            place(model, server.address)
        assert list(events)[-1].data["state"] == "complete"


def test_a_sleeping_model_is_woken_by_a_question(cast: Cast, server: Server, bo: Visitor) -> None:
    model = make_model(cast.north, cast.ada, cast.bo)
    with tenant_scope(cast.north):
        place(model, "", state="asleep")
    asked = bo.ask("Where is it made?")
    with closing(bo.events(asked["stream"])) as events:
        assert "Waking the model" in [next(events) for _ in range(2)][1].data["note"]
        with tenant_scope(cast.north):
            assert Placement.objects.exclude(asked_at=None).count() == 1
            place(model, server.address)
        assert list(events)[-1].data["state"] == "complete"


def test_a_server_that_dies_midway_is_told_of(cast: Cast, bo: Visitor) -> None:
    server = start_server()
    make_model(cast.north, cast.ada, cast.bo, address=server.address)
    try:
        asked = bo.ask()
        with closing(bo.events(asked["stream"])) as events:
            next(event for event in events if event.name == "token")
            server.process.kill()
            end = list(events)[-1]
    finally:
        stop_server(server)
    assert end.data["state"] == "failed"
    assert end.data["text"] != ""
    assert reply_of(cast, asked["message"]).failure == "model.gone"


def test_a_conversation_longer_than_the_model_reads_goes_on(
    cast: Cast, model: Composition, bo: Visitor
) -> None:
    asked = bo.ask("q" * 700)
    bo.first_tokens(asked["stream"], 1)
    bo.post(asked["stop"])
    bo.end(asked["stream"])
    with tenant_scope(cast.north):
        Message.objects.filter(pk=asked["message"]).update(text="a" * CONTEXT)
    asked = bo.ask("And now?", conversation=asked["conversation"])
    assert said(bo.first_tokens(asked["stream"], 1)) != ""


def test_a_question_longer_than_the_model_reads_is_refused(
    cast: Cast, model: Composition, bo: Visitor
) -> None:
    end = bo.end(bo.ask("q" * 2 * CONTEXT)["stream"])
    assert end.data["state"] == "failed"
    assert "Shorten it" in end.data["note"]


def test_a_deleted_conversation_ends_its_answer(model: Composition, bo: Visitor) -> None:
    asked = bo.ask()
    bo.first_tokens(asked["stream"])
    assert bo.post(f"/chat/{asked['conversation']}/delete").status_code == 302
    assert bo.http.get(asked["stream"]).status_code == 404


def test_a_reply_whose_process_died_is_closed(
    cast: Cast, model: Composition, bo: Visitor, server: Server
) -> None:
    web, address = start_web()
    try:
        with Visitor(cast.bo, address) as visitor:
            asked = visitor.ask(LONG)
            visitor.first_tokens(asked["stream"])
            # The model pauses in the middle: a fast machine would end the answer before the kill.
            server.process.send_signal(signal.SIGSTOP)
            assert wait_until(lambda: reply_of(cast, asked["message"]).text != "")
    finally:
        web.send_signal(signal.SIGKILL)
        server.process.send_signal(signal.SIGCONT)
        web.wait()
        assert web.stderr is not None
        web.stderr.close()
    with tenant_scope(cast.north):
        assert close_left_behind(timezone.now()) == []  # it may yet be alive
        later = timezone.now() + timedelta(minutes=1)
        assert [str(code) for code in close_left_behind(later)] == [asked["message"]]
        assert close_left_behind(later) == []
    reply = reply_of(cast, asked["message"])
    assert (reply.state, reply.failure) == (State.FAILED, "reply.interrupted")
    assert reply.text != ""
    assert bo.end(asked["stream"]).data["text"] == reply.text


def start_web() -> tuple[subprocess.Popen[str], str]:
    """The site as a process of its own, to be killed."""
    words = ["--host", "127.0.0.1", "--port", "0", "--no-access-log"]
    web = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "counterpoint.asgi:application", *words],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert web.stderr is not None
    for line in web.stderr:
        if "running on" in line:
            address = next(word for word in line.split() if word.startswith("http://"))
            return web, address
    raise AssertionError("the site ended before it was ready")
