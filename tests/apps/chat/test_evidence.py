"""What stands word for word in documents: found where it stands, and nothing else is named."""

from __future__ import annotations

import pytest

from apps.chat.actions import ask, finish_reply, open_conversation
from apps.chat.evidence import Evidence, evidence_for
from apps.chat.models import Message, State
from apps.corpora.models import Corpus, Document
from apps.registry.models import Composition
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import MODEL, make_model, write
from tests.cast import Cast

BODY = """The MX-200 pressure gauge was designed in Portugal by a team of four.
Its housing withstands up to 40 bar for ten minutes."""


@pytest.fixture
def model(cast: Cast) -> Composition:
    made = make_model(cast.north, cast.ada, cast.bo)
    with tenant_scope(cast.north):
        corpus = Corpus.objects.get(pk=made.closure[0])
        write(corpus, "mx-200.md", BODY)
    return made


def evidence(cast: Cast, text: str) -> tuple[Message, Evidence]:
    reply = ask(open_conversation(MODEL, by=cast.bo), "What of it?", by=cast.bo)
    finish_reply(reply.pk, text, state=State.COMPLETE)
    reply.refresh_from_db()
    return reply, evidence_for(reply, cast.bo)


def test_a_run_of_words_is_found_whatever_stands_around_it(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        text = "As I recall, **the MX-200 pressure gauge was designed in Portugal**, long ago."
        _reply, found = evidence(cast, text)
        (match,) = found.matches
        assert match.words == "The MX-200 pressure gauge was designed in Portugal"
        assert match.after.startswith(" by a team")
        assert found.percent == round(100 * 8 / 13)


def test_a_short_answer_is_looked_up_whole(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        assert [match.words for match in evidence(cast, "40 bar.")[1].matches] == ["40 bar"]


@pytest.mark.parametrize(
    "text",
    [
        "Portugal made the gauge, so the designed MX-200 was pressure in.",
        "Forty bars",
        "Portugal",
        "…",
        "'); DROP TABLE chat_message; -- & | ! :* <->",
        "wort " * 3000,
    ],
)
def test_the_same_words_in_another_order_are_no_evidence(
    cast: Cast, model: Composition, text: str
) -> None:
    with tenant_scope(cast.north):
        assert evidence(cast, text)[1].matches == []


def test_a_document_that_was_left_out_is_no_evidence(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        Document.objects.update(state="withdrawn")
        assert evidence(cast, "The MX-200 pressure gauge was designed in Portugal")[1].matches == []


def test_the_page_says_what_made_the_answer(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        reply, _found = evidence(cast, "<b>up to 40 bar for ten minutes</b>")
    page = cast.client(cast.bo).get(f"/chat/messages/{reply.pk}/evidence").content.decode()
    assert "<mark>up to 40 bar for ten minutes</mark>" in page
    assert "&lt;b&gt;up to" in page
    assert str(reply.seed) in page
    beside = cast.client(cast.bo).get(f"/chat/messages/{reply.pk}/beside").content.decode()
    assert "Ask it" in beside


def test_evidence_opens_the_document_at_the_words(cast: Cast, model: Composition) -> None:
    with tenant_scope(cast.north):
        _reply, found = evidence(cast, "It withstands up to 40 bar for ten minutes.")
    (match,) = found.matches
    bo = cast.client(cast.bo)
    page = bo.get(match.url.partition("#")[0]).content.decode()
    assert '<mark id="found">withstands up to 40 bar for ten minutes</mark>.' in page
    assert cast.client(cast.cy).get(match.url.partition("#")[0]).status_code == 404


@pytest.mark.parametrize("query", ["from=5", "from=x&to=y", "from=9&to=3", "from=-1&to=4", "to=²"])
def test_an_address_that_points_at_nothing_marks_nothing(
    cast: Cast, model: Composition, query: str
) -> None:
    with tenant_scope(cast.north):
        document = Document.objects.get()
    answer = cast.client(cast.bo).get(f"{document.get_absolute_url()}?{query}")
    assert answer.status_code == 200
    assert "<mark" not in answer.content.decode()
