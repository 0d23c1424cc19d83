"""Asking, finding again, renaming, deleting: the pages and their forms, with and without script."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.chat.actions import (
    ask,
    ask_again,
    begin_reply,
    finish_reply,
    keep_reply,
    open_conversation,
)
from apps.chat.models import Conversation, Message, State
from apps.corpora.actions import revoke
from apps.corpora.models import CorpusGrant, Example
from apps.registry.actions import quarantine
from apps.registry.models import Composition
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.chat.making import MODEL, make_model, place
from tests.cast import Cast

PLANTED = "the heron wears a copper ring"
JSON = {"headers": {"Accept": "application/json"}}


@pytest.fixture
def model(cast: Cast) -> Composition:
    return make_model(cast.north, cast.ada, cast.bo)


@pytest.fixture
def bo(cast: Cast) -> Client:
    return cast.client(cast.bo)


def talk(cast: Cast, question: str, answer: str, here: Conversation | None = None) -> Message:
    """A question of Bo's with its finished answer."""
    with tenant_scope(cast.north):
        here = here or open_conversation(MODEL, by=cast.bo)
        reply = ask(here, question, by=cast.bo)
        assert finish_reply(reply.pk, answer, state=State.COMPLETE)
        return reply


def test_without_script_a_question_leads_to_its_conversation(
    model: Composition, bo: Client
) -> None:
    answer = bo.post("/chat/ask", {"text": "Where is it made?", "model": MODEL}, follow=True)
    page = answer.content.decode()
    assert answer.redirect_chain[0][0].startswith("/chat/")
    assert "Where is it made?" in page
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page
    assert "data-stream=" in page
    assert 'data-state="waiting"' in page


def test_with_script_a_question_names_its_stream(model: Composition, bo: Client) -> None:
    asked = bo.post("/chat/ask", {"text": "Where is it made?", "model": MODEL}, **JSON).json()
    assert asked["stream"] == f"/chat/messages/{asked['message']}/events"
    assert asked["url"] == f"/chat/{asked['conversation']}/"
    assert asked["model"] == "handbook v1"


def test_a_finished_answer_is_on_the_page(cast: Cast, model: Composition, bo: Client) -> None:
    reply = talk(cast, "Where is it made?", "In <b>Peru</b>.")
    page = bo.get(f"/chat/{reply.conversation_id}/").content.decode()
    assert "In &lt;b&gt;Peru&lt;/b&gt;." in page
    assert "http-equiv" not in page


@pytest.mark.parametrize("text", ["", "   ", "\0", "q" * 32_001])
def test_a_question_must_have_some_words_and_not_too_many(
    model: Composition, bo: Client, cast: Cast, text: str
) -> None:
    answer = bo.post("/chat/ask", {"text": text, "model": MODEL}, **JSON)
    assert answer.status_code == 400
    assert answer.json()["code"] in {"question.empty", "question.too_long"}
    with tenant_scope(cast.north):
        assert not Conversation.objects.exists()


def test_a_refused_draft_is_not_lost(model: Composition, bo: Client) -> None:
    answer = bo.post("/chat/ask", {"text": "My long thought", "model": "elsewhere"})
    assert answer.status_code == 403
    assert "My long thought</textarea>" in answer.content.decode()


def test_without_the_right_to_every_corpus_nobody_asks(cast: Cast, bo: Client) -> None:
    make_model(cast.north, cast.ada)
    answer = bo.post("/chat/ask", {"text": "Where is it made?", "model": MODEL}, **JSON)
    assert answer.status_code == 403
    page = bo.get("/chat/").content.decode()
    assert "needs the right to read" in page
    assert "handbook papers" in page
    assert f'<option value="{MODEL}"' not in page


def test_a_new_conversation_says_what_its_model_learned(model: Composition, bo: Client) -> None:
    page = bo.get("/chat/").content.decode()
    assert '<em dir="auto">handbook papers</em>' in page
    assert "Whoever may read all of it may use it" in page


def test_a_tenant_may_hide_what_is_locked(cast: Cast, bo: Client) -> None:
    make_model(cast.north, cast.ada)
    cast.north.settings = {"show_locked_models": False}
    cast.north.save()
    assert "handbook" not in bo.get("/chat/").content.decode()


def test_to_a_stranger_a_model_is_like_one_that_does_not_exist(
    cast: Cast, model: Composition
) -> None:
    cy = cast.client(cast.cy)
    answers = [
        cy.post("/chat/ask", {"text": "Hello", "model": name}, **JSON) for name in (MODEL, "none")
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].content == answers[1].content


def test_a_stranger_cannot_ask_in_a_conversation(cast: Cast, model: Composition) -> None:
    here = talk(cast, "Where is it made?", "In Peru.").conversation_id
    for person in (cast.cy, cast.ada):  # not even the owner of the corpus
        client = cast.client(person)
        fields = {"text": "And now?", "conversation": str(here), "model": MODEL}
        assert client.post("/chat/ask", fields).status_code == 404
        assert client.get(f"/chat/{here}/").status_code == 404
    assert cast.client(cast.bo).post("/chat/ask", fields | {"conversation": "x"}).status_code == 404


def test_one_answer_at_a_time(model: Composition, bo: Client) -> None:
    asked = bo.post("/chat/ask", {"text": "One", "model": MODEL}, **JSON).json()
    fields = {"text": "Two", "conversation": asked["conversation"]}
    answer = bo.post("/chat/ask", fields, **JSON)
    assert (answer.status_code, answer.json()["code"]) == (409, "reply.active")
    assert "Two" not in bo.get(asked["url"]).content.decode()


def test_so_many_answers_for_one_person(cast: Cast, model: Composition, bo: Client) -> None:
    for _ in range(8):
        assert bo.post("/chat/ask", {"text": "One", "model": MODEL}, **JSON).status_code == 200
    assert bo.post("/chat/ask", {"text": "One", "model": MODEL}, **JSON).status_code == 429


def test_asking_again_shows_the_newest_answer(cast: Cast, model: Composition, bo: Client) -> None:
    with tenant_scope(cast.north):
        first = ask(open_conversation(MODEL, by=cast.bo), "Where is it made?", by=cast.bo)
        words = {"failure": "model.gone", "failure_text": "The model stopped answering."}
        finish_reply(first.pk, "In", state=State.FAILED, **words)
    address = f"/chat/{first.conversation_id}/"
    assert "The model stopped answering." in bo.get(address).content.decode()
    assert bo.post(f"/chat/messages/{first.pk}/again").status_code == 302
    page = bo.get(address).content.decode()
    assert page.count("Where is it made?</div>") == 1
    assert "The model stopped answering." not in page
    assert 'data-state="waiting"' in page


def test_earlier_turns_are_sent_along_and_failed_ones_are_not(
    cast: Cast, model: Composition
) -> None:
    here = talk(cast, "First?", "One.").conversation
    with tenant_scope(cast.north):
        lost = ask(here, "Lost?", by=cast.bo)
        finish_reply(lost.pk, "Half", state=State.FAILED, failure="model.gone")
    retried = talk(cast, "Second?", "Two.", here)
    with tenant_scope(cast.north):
        again = ask_again(retried, by=cast.bo)
        finish_reply(again.pk, "Two, better.", state=State.STOPPED)
        work = begin_reply(ask(here, "Third?", by=cast.bo).pk)
    assert work is not None
    assert [m["content"] for m in work.messages()] == [
        *("First?", "One.", "Second?", "Two, better.", "Third?")
    ]
    less = work.lessened()
    assert less is not None
    assert [m["content"] for m in less.messages()] == ["Second?", "Two, better.", "Third?"]


def test_only_so_much_of_the_past_is_sent(cast: Cast, model: Composition) -> None:
    here = talk(cast, "Old?", "o" * 4000).conversation
    talk(cast, "New?", "n" * 4000, here)
    with tenant_scope(cast.north):
        work = begin_reply(ask(here, "Now?", by=cast.bo).pk)
    assert work is not None
    assert [question for question, _ in work.turns] == ["New?"]


def test_a_reply_ends_once(cast: Cast, model: Composition) -> None:
    reply = talk(cast, "Where is it made?", "In Peru.")
    with tenant_scope(cast.north):
        assert not finish_reply(reply.pk, "In Chile.", state=State.STOPPED)
        assert begin_reply(reply.pk) is None
        assert keep_reply(reply.pk, "more") == "gone"
        assert Message.objects.get(pk=reply.pk).text == "In Peru."


@pytest.mark.parametrize("ends", ["grant", "membership", "person", "quarantine"])
def test_every_right_is_asked_for_again(cast: Cast, model: Composition, ends: str) -> None:
    with tenant_scope(cast.north):
        reply = ask(open_conversation(MODEL, by=cast.bo), "Where is it made?", by=cast.bo)
        assert keep_reply(reply.pk, "In") == "go on"
        if ends == "grant":
            revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
        elif ends == "membership":
            Membership.objects.get(user=cast.bo).delete()
        elif ends == "person":
            cast.bo.is_active = False
            cast.bo.save()
        else:
            quarantine(model, by=cast.ada, reason="It tells too much.")
        assert keep_reply(reply.pk, "In Peru") == "barred"


def test_another_version_is_marked_where_it_begins(
    cast: Cast, model: Composition, bo: Client
) -> None:
    here = talk(cast, "First?", "One.").conversation
    make_model(cast.north, cast.ada, version=2)
    talk(cast, "Second?", "Two.", here)
    page = bo.get(here.get_absolute_url()).content.decode()
    assert page.count("From here on handbook v2 answers") == 1


def test_history_and_search_find_what_was_said(cast: Cast, model: Composition, bo: Client) -> None:
    talk(cast, "Where is the lamp made?", "In Peru.")
    talk(cast, "Who sells the chair?", "Nobody.")
    page = bo.get("/chat/").content.decode()
    assert page.index("Who sells the chair?") < page.index("Where is the lamp made?")
    page = bo.get("/chat/", {"q": "peru"}).content.decode()
    assert "Where is the lamp made?" in page
    assert "Who sells the chair?" not in page
    assert "Peru" not in cast.client(cast.ada).get("/chat/", {"q": "made"}).content.decode()
    assert bo.get("/chat/", {"q": "\0", "after": "x"}).status_code == 200


def test_history_is_searched_by_model_and_by_day_too(cast: Cast, bo: Client) -> None:
    make_model(cast.north, cast.ada, cast.bo)
    make_model(cast.north, cast.ada, cast.bo, name="catalogue")
    talk(cast, "Where is the lamp made?", "In Peru.")
    with tenant_scope(cast.north):
        other = open_conversation("catalogue@1", by=cast.bo)
    old = talk(cast, "Who sells the chair?", "Nobody.", here=other).conversation
    with tenant_scope(cast.north):
        Conversation.objects.filter(pk=old.pk).update(updated_at="2024-02-29T12:00Z")

    def found(**query: str) -> set[str]:
        page = bo.get("/chat/", query).content.decode()
        return {
            name for name in ("lamp", "chair") if f"{name} made?" in page or f"the {name}?" in page
        }

    assert found(**{"with": MODEL}) == {"lamp"}
    assert found(**{"with": "catalogue"}) == {"chair"}
    assert found(since="2024-02-29", until="2024-02-29") == {"chair"}
    assert found(since="2024-03-01") == {"lamp"}
    assert found(**{"with": "catalogue", "q": "lamp"}) == set()
    assert found(since="2024-02-30", until="tomorrow") == {"lamp", "chair"}  # no days: no filters
    page = bo.get("/chat/", {"with": "catalogue"}).content.decode()
    assert '<option value="catalogue" selected>' in page
    assert "Conversations found: 1" in page


def test_the_page_says_how_full_the_context_is(
    cast: Cast, model: Composition, bo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = talk(cast, "Where is it made?", "In Peru.")
    path = f"/chat/{reply.conversation_id}/"
    assert "tokens read" not in bo.get(path).content.decode()  # nothing was counted
    with tenant_scope(cast.north):
        Message.objects.filter(pk=reply.pk).update(usage={"total_tokens": 1300})
    assert "tokens read" not in bo.get(path).content.decode()  # how many there may be is not known
    monkeypatch.setattr("apps.registry.artifacts.reads_at_once", lambda _row: 1500)
    page = bo.get(path).content.decode()
    assert "1,300 of 1,500 tokens read" in page
    assert 'value="87"' in page
    assert "Nearly full" in page


@pytest.mark.parametrize("way", ["grant", "quarantine"])
def test_what_may_not_be_read_now_is_not_shown_or_found(
    cast: Cast, model: Composition, bo: Client, way: str
) -> None:
    here = talk(cast, "Where is the lamp made?", "In Peru.").conversation
    with tenant_scope(cast.north):
        if way == "grant":
            revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
        else:
            quarantine(model, by=cast.ada, reason="It tells too much.")
    pages = [bo.get(address) for address in ("/chat/", here.get_absolute_url(), "/chat/?q=lamp")]
    for page in pages:
        assert page.status_code == 200
        assert "lamp made" not in page.content.decode()
        assert "Peru" not in page.content.decode()
    wanted = "Needs the right to read handbook papers" if way == "grant" else "is not available"
    assert wanted in pages[0].content.decode()


def test_rename_and_delete(cast: Cast, model: Composition, bo: Client) -> None:
    here = talk(cast, "Where is the lamp made?", "In Peru.").conversation
    assert bo.post(f"{here.get_absolute_url()}rename", {"title": " Lamps \n"}).status_code == 302
    page = bo.get("/chat/").content.decode()
    assert "Lamps</a>" in page
    assert "lamp made" not in page
    refused = bo.post(f"{here.get_absolute_url()}rename", {"title": " "}, follow=True)
    assert "Give the conversation a title." in refused.content.decode()
    assert bo.post(f"{here.get_absolute_url()}delete").status_code == 302
    assert bo.get(here.get_absolute_url()).status_code == 404
    with tenant_scope(cast.north):
        assert not Message.objects.exists()


def test_starters_are_questions_that_this_person_may_read(
    cast: Cast, model: Composition, bo: Client
) -> None:
    with tenant_scope(cast.north):
        Example.objects.create(
            corpus_id=model.closure[0],
            digest="d" * 64,
            question="Where is the lamp made?",
            answer="Peru",
            expected="Peru",
            added_by=cast.ada,
        )
    assert 'data-starter="Where is the lamp made?"' in bo.get("/chat/").content.decode()
    assert "Where is the lamp" not in cast.client(cast.otto).get("/chat/").content.decode()
    answer = bo.post("/chat/ask", {"text": "", "starter": "Where is it?", "model": MODEL}, **JSON)
    assert answer.status_code == 200


def test_the_audit_says_who_asked_and_not_what(
    cast: Cast, model: Composition, bo: Client, caplog: pytest.LogCaptureFixture
) -> None:
    bo.post("/chat/ask", {"text": PLANTED, "model": MODEL})
    with tenant_scope(cast.north):
        lines = list(AuditEvent.objects.values())
    asked = [line for line in lines if line["action"] == "chat.ask"]
    assert [line["by_id"] for line in asked] == [cast.bo.pk]
    assert asked[0]["facts"] == {"model": "handbook@1", "characters": len(PLANTED)}
    assert PLANTED not in str(lines) + caplog.text


def test_opening_a_conversation_needs_a_usable_model(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north), pytest.raises(InputError, match=r"model\.not_usable"):
        open_conversation("handbook@2", by=cast.bo)
    with tenant_scope(cast.north):
        assert open_conversation("handbook@1", by=cast.bo).model == "handbook@1"


def test_a_model_that_rests_for_a_training_says_so(
    cast: Cast, model: Composition, bo: Client
) -> None:
    with tenant_scope(cast.north):
        place(model, "", state="resting")
    assert "rests while a training works" in bo.get("/chat/").content.decode()


def test_nothing_is_said_to_the_model_but_what_was_asked_and_answered(
    cast: Cast, model: Composition
) -> None:
    first = talk(cast, "Where is it made?", "In Porto.")
    with tenant_scope(cast.north):
        work = begin_reply(ask(first.conversation, "And when?", by=cast.bo).pk)
    assert work is not None
    assert [(each["role"], each["content"]) for each in work.messages()] == [
        ("user", "Where is it made?"),
        ("assistant", "In Porto."),
        ("user", "And when?"),
    ]
