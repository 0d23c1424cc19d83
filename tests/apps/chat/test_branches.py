"""Editing, asking again and going on in a copy: one way is shown, and no other is lost."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from apps.chat import keeping, retention
from apps.chat.actions import (
    ask,
    ask_again,
    ask_anchor,
    begin_reply,
    edit,
    finish_reply,
    open_conversation,
)
from apps.chat.history import grouped
from apps.chat.models import Conversation, Message, State
from apps.chat.tree import way
from apps.corpora.actions import revoke
from apps.corpora.models import CorpusGrant
from apps.registry.models import Composition
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.chat.making import MODEL, make_model
from tests.cast import Cast


@pytest.fixture
def model(cast: Cast) -> Composition:
    return make_model(cast.north, cast.ada, cast.bo)


@pytest.fixture
def bo(cast: Cast) -> Client:
    return cast.client(cast.bo)


def said(reply: Message, answer: str) -> Message:
    assert finish_reply(reply.pk, answer, state=State.COMPLETE)
    reply.refresh_from_db()
    return reply


def shown(here: Conversation, at: Message | None = None) -> list[str]:
    messages = list(here.messages.order_by("position"))
    return [spot.message.text for spot in way(messages, at.pk if at else None)]


def test_an_edited_question_is_a_sibling_and_the_old_way_stays(
    cast: Cast, model: Composition
) -> None:
    with tenant_scope(cast.north):
        here = open_conversation(MODEL, by=cast.bo)
        first = said(ask(here, "One?", by=cast.bo), "1")
        second = said(ask(here, "Two?", by=cast.bo), "2")
        said(ask(here, "Three?", by=cast.bo), "3")
        other = said(edit(second.question, "Deux?", by=cast.bo), "zwei")
        assert shown(here) == ["One?", "1", "Deux?", "zwei"]
        assert shown(here, second) == ["One?", "1", "Two?", "2", "Three?", "3"]
        again = said(edit(first.question, "Eins?", by=cast.bo), "eins")
        assert shown(here) == ["Eins?", "eins"]
        assert shown(here, other) == ["One?", "1", "Deux?", "zwei"]
        assert begin_reply(again.pk) is None
        spots = way(list(here.messages.order_by("position")), again.pk)
        assert (spots[0].number, spots[0].count, spots[0].earlier) == (2, 2, first.question.pk)


def test_the_model_hears_the_way_that_was_read_and_no_other(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        here = open_conversation(MODEL, by=cast.bo)
        first = said(ask(here, "One?", by=cast.bo), "1")
        said(edit(first.question, "Eins?", by=cast.bo), "eins")
        told = begin_reply(ask(here, "Next?", by=cast.bo, after=first).pk)
        assert told is not None
        assert list(told.turns) == [("One?", "1")]


def test_asking_a_whole_answer_again_lets_chance_in_and_the_anchor_hears_the_same(
    cast: Cast, model: Composition
) -> None:
    with tenant_scope(cast.north):
        reply = said(ask(open_conversation(MODEL, by=cast.bo), "One?", by=cast.bo), "1")
        varied = said(ask_again(reply, by=cast.bo), "uno")
        assert varied.settings["temperature"] > 0
        alone = ask_anchor(reply, by=cast.bo)
        assert alone.settings == {**reply.settings, "gate": 0}
        assert alone.seed == reply.seed
        work = begin_reply(alone.pk)
        assert work is not None
        assert work.settings["gate"] == 0


def test_a_copy_goes_on_by_itself(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        here = open_conversation(MODEL, by=cast.bo)
        first = said(ask(here, "One?", by=cast.bo), "1")
        said(ask(here, "Two?", by=cast.bo), "2")
        new = keeping.fork(first, by=cast.bo)
        assert shown(new) == ["One?", "1"]
        said(ask(new, "Else?", by=cast.bo), "e")
        assert shown(here) == ["One?", "1", "Two?", "2"]
        here.delete()
        assert shown(new) == ["One?", "1", "Else?", "e"]


def test_a_temporary_conversation_is_in_no_list_and_goes(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        here = open_conversation(MODEL, by=cast.bo, is_temporary=True)
        reply = said(ask(here, "A secret plan?", by=cast.bo), "Yes.")
        with pytest.raises(InputError, match=r"rating\.temporary"):
            keeping.rate(reply, 1)
    page = cast.client(cast.bo).get("/chat/?q=secret").content.decode()
    assert "A secret plan?" not in page
    with tenant_scope(cast.north):
        retention.run()
        assert Conversation.objects.filter(pk=here.pk).exists()
        Conversation.objects.update(updated_at=timezone.now() - retention.TEMPORARY * 2)
        retention.run()
        assert not Conversation.objects.filter(pk=here.pk).exists()


def test_every_act_of_the_page_does_what_it_says(
    cast: Cast, model: Composition, bo: Client
) -> None:
    asked = bo.post("/chat/ask", {"text": "Where is it made?", "model": MODEL}, follow=True)
    address = asked.redirect_chain[0][0]
    with tenant_scope(cast.north):
        reply = said(Message.objects.get(role="assistant"), "In **Peru**.")
    message = f"/chat/messages/{reply.pk}"
    bo.post(f"{message}/rate", {"rating": "-1", "reason": "outdated", "text": "Now in Chile."})
    bo.post(f"{address}pin")
    bo.post(f"{address}folder", {"folder": "Suppliers"})
    with tenant_scope(cast.north):
        reply.refresh_from_db()
        told = (reply.rating, reply.rating_reason, reply.rating_text)
        assert told == (-1, "outdated", "Now in Chile.")
    written = bo.get(f"{address}export.md").content.decode()
    assert written == (
        "# Where is it made?\n\n## You\n\nWhere is it made?\n\n## handbook v1\n\nIn **Peru**.\n"
    )
    page = bo.get(address).content.decode()
    assert "Pinned" in page
    assert '<option value="Suppliers">' in page
    forked = bo.post(f"{message}/fork")["Location"]
    assert forked != address
    assert "In **Peru**." in bo.get(forked).content.decode()
    edited = bo.post(f"/chat/messages/{reply.parent_id}/edit", {"text": "When?"}, follow=True)
    page = edited.content.decode()
    assert "When?" in page
    assert "2/2" in page
    assert f"?at={reply.parent_id}" in page
    assert "In **Peru**." in bo.get(f"{address}?at={reply.pk}").content.decode()
    assert bo.get(f"{address}?at=nonsense").status_code == 200


def test_feedback_is_as_closed_as_the_answer_it_is_about(
    cast: Cast, model: Composition, bo: Client
) -> None:
    bo.post("/chat/ask", {"text": "Where is it made?", "model": MODEL})
    with tenant_scope(cast.north):
        reply = said(Message.objects.get(role="assistant"), "In Peru.")
        page = reply.conversation.get_absolute_url()
    address = f"/chat/messages/{reply.pk}/rate"
    told = {"rating": "-1", "reason": "outdated", "text": "Now in Chile."}
    bo.post(address, told)
    assert "Now in Chile." in bo.get(page).content.decode()
    with tenant_scope(cast.north):
        revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
    shown = [bo.get(each) for each in (page, "/chat/", f"{page}export.md", "/chat/?q=Chile")]
    assert not any("in Chile." in each.content.decode() for each in shown)
    assert bo.post(address, told | {"text": "Or in Cuba."}).status_code == 404
    with tenant_scope(cast.north):
        reply.refresh_from_db()
    assert reply.rating_text == "Now in Chile."


@pytest.mark.parametrize("rating", ["", "2", "-1; DROP", "1.0"])
def test_a_rating_is_one_of_three(cast: Cast, model: Composition, bo: Client, rating: str) -> None:
    with tenant_scope(cast.north):
        reply = said(ask(open_conversation(MODEL, by=cast.bo), "One?", by=cast.bo), "1")
    bo.post(f"/chat/messages/{reply.pk}/rate", {"rating": rating})
    with tenant_scope(cast.north):
        reply.refresh_from_db()
        assert reply.rating is None


def test_nobody_answers_from_beneath_another_conversation(
    cast: Cast, model: Composition, bo: Client
) -> None:
    with tenant_scope(cast.north):
        other = said(ask(open_conversation(MODEL, by=cast.bo), "One?", by=cast.bo), "1")
        here = open_conversation(MODEL, by=cast.bo)
        said(ask(here, "Two?", by=cast.bo), "2")
    told = {"conversation": str(here.pk), "text": "Three?", "model": MODEL, "after": str(other.pk)}
    assert bo.post("/chat/ask", told).status_code == 302
    with tenant_scope(cast.north):
        assert shown(here)[:3] == ["Two?", "2", "Three?"]


def test_a_list_without_conversations_has_no_groups() -> None:
    assert grouped([], timezone.now()) == []
