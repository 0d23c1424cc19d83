"""What is begun and not asked is there again on every machine, for its writer, for a month."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.chat import retention
from apps.chat.actions import ask, open_conversation
from apps.chat.models import Conversation, Draft
from apps.registry.models import Composition
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import MODEL, make_model
from tests.cast import Cast

WORDS = "What does the heron"
JSON = {"headers": {"Accept": "application/json"}}


@pytest.fixture
def model(cast: Cast) -> Composition:
    return make_model(cast.north, cast.ada, cast.bo)


@pytest.fixture
def bo(cast: Cast) -> Client:
    return cast.client(cast.bo)


@pytest.fixture
def here(cast: Cast, model: Composition) -> Conversation:
    with tenant_scope(cast.north):
        return open_conversation(MODEL, by=cast.bo)


def keep(client: Client, text: str, here: Conversation | None = None) -> int:
    code = str(here.pk) if here else ""
    return client.post("/chat/draft", {"conversation": code, "text": text}).status_code


def field(client: Client, path: str = "/chat/") -> str:
    page = client.get(path).content.decode()
    return page.partition('<textarea id="text"')[2].partition(">")[2].partition("</textarea>")[0]


def test_a_draft_is_there_again_where_its_writer_signs_in(
    cast: Cast, bo: Client, here: Conversation
) -> None:
    assert keep(bo, WORDS) == 204
    assert keep(bo, "And of", here) == 204
    elsewhere = cast.client(cast.bo)
    assert field(elsewhere) == WORDS
    assert field(elsewhere, here.get_absolute_url()) == "And of"


def test_the_last_stroke_of_two_tabs_stands_and_no_words_keep_nothing(
    cast: Cast, bo: Client, model: Composition
) -> None:
    keep(bo, WORDS)
    keep(bo, "Another tab")
    assert field(bo) == "Another tab"
    keep(bo, "  \0 ")
    assert field(bo) == ""
    with tenant_scope(cast.north):
        assert not Draft.objects.exists()


def test_asking_lets_go_of_the_draft_and_of_no_other(
    cast: Cast, bo: Client, here: Conversation
) -> None:
    keep(bo, "And of", here)
    keep(bo, WORDS)
    asked = bo.post("/chat/ask", {"text": WORDS, "model": MODEL}, **JSON).json()
    assert field(bo) == ""
    assert field(bo, asked["url"]) == ""
    assert field(bo, here.get_absolute_url()) == "And of"


def test_a_refused_question_is_still_a_draft(bo: Client, model: Composition) -> None:
    keep(bo, WORDS)
    assert bo.post("/chat/ask", {"text": WORDS, "model": "none"}, **JSON).status_code == 403
    assert field(bo) == WORDS


def test_nobody_else_reads_or_writes_it(cast: Cast, bo: Client, here: Conversation) -> None:
    keep(bo, WORDS)
    for person in (cast.ada, cast.otto, cast.cy):
        client = cast.client(person)
        assert WORDS not in client.get("/chat/").content.decode()
        assert keep(client, "Mine", here) == 404
    assert keep(Client(), WORDS) == 302


def test_a_draft_is_in_no_export_and_no_log(cast: Cast, bo: Client, here: Conversation) -> None:
    with tenant_scope(cast.north):
        ask(here, "Where?", by=cast.bo)
    keep(bo, WORDS, here)
    assert WORDS not in bo.get(f"{here.get_absolute_url()}export.md").content.decode()
    assert WORDS not in cast.client(cast.otto).get("/audit/").content.decode()


def test_temporary_conversations_keep_none(cast: Cast, bo: Client, model: Composition) -> None:
    with tenant_scope(cast.north):
        passing = open_conversation(MODEL, by=cast.bo, is_temporary=True)
    assert keep(bo, WORDS, passing) == 204
    with tenant_scope(cast.north):
        assert not Draft.objects.exists()


def test_one_that_is_too_long_is_refused_in_words(bo: Client, model: Composition) -> None:
    answer = bo.post("/chat/draft", {"text": "w" * 32_001})
    assert (answer.status_code, answer.json()["code"]) == (400, "question.too_long")


def test_it_lapses_after_a_month_and_goes_with_its_conversation(
    cast: Cast, bo: Client, here: Conversation
) -> None:
    keep(bo, WORDS)
    keep(bo, "And of", here)
    old = timezone.now() - timedelta(days=31)
    with tenant_scope(cast.north):
        Draft.objects.filter(conversation=None).update(updated_at=old)
        retention.run()
        assert [each.text for each in Draft.objects.all()] == ["And of"]
        here.delete()
        assert not Draft.objects.exists()
