"""A question that goes with passages: which ones, whether they fit, and who sees them named."""

from __future__ import annotations

import pytest

from apps.chat.actions import begin_reply, finish_reply, look_up
from apps.chat.models import State
from apps.corpora.actions import revoke
from apps.corpora.models import Corpus, CorpusGrant, Document, Passage
from apps.registry.models import Composition
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import CONTEXT, Visitor, reply_of, write
from tests.cast import Cast

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("_quiet")]

QUESTION = "How much does the MX-200 withstand?"


@pytest.fixture
def papers(cast: Cast, model: Composition) -> Document:
    with tenant_scope(cast.north):
        corpus = Corpus.objects.get(pk=model.closure[0])
        return write(corpus, "mx-200.md", "The MX-200 was made in Portugal. ", "It is blue. ")


def test_the_passages_stand_before_the_question_and_are_named(
    cast: Cast, bo: Visitor, papers: Document
) -> None:
    told = bo.ask(QUESTION, look_up="on")
    assert bo.end(told["stream"]).name == "done"
    reply = reply_of(cast, told["message"])
    with tenant_scope(cast.north):
        read = list(Passage.objects.filter(pk__in=reply.passages))
    assert [passage.body for passage in read] == ["The MX-200 was made in Portugal. "]
    page = bo.http.get(told["url"]).text
    assert "Read 1 passage" in page
    assert papers.get_absolute_url() in page
    plain = bo.ask(QUESTION, conversation=told["conversation"])
    bo.end(plain["stream"])
    assert reply_of(cast, plain["message"]).passages == []


def test_the_model_is_given_the_passages(cast: Cast, bo: Visitor, papers: Document) -> None:
    sizes = []
    for fields in ({}, {"look_up": "on"}):
        told = bo.ask(QUESTION, **fields)
        bo.end(told["stream"])
        sizes.append(reply_of(cast, told["message"]).usage["prompt_tokens"])
    assert sizes[1] > sizes[0] + len("The MX-200 was made in Portugal.")


def test_what_the_model_cannot_read_at_once_is_left_out(
    cast: Cast, bo: Visitor, papers: Document
) -> None:
    with tenant_scope(cast.north):
        long = f"MX-200 withstand {'x' * (CONTEXT // 2)} "
        write(papers.corpus, "long.md", long, long, long)
    told = bo.ask(QUESTION, look_up="on")
    assert bo.end(told["stream"]).data["state"] == "complete"
    assert len(reply_of(cast, told["message"]).passages) == 1


def test_where_nothing_fits_the_answer_says_so(bo: Visitor, papers: Document) -> None:
    told = bo.ask("Zeppelin?", look_up="on")
    bo.end(told["stream"])
    assert "No passage fitted the question." in bo.http.get(told["url"]).text


def test_a_right_that_ended_before_the_answer_began_reads_nothing(
    cast: Cast, bo: Visitor, papers: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.chat.relay.start", lambda *_: None)
    told = bo.ask(QUESTION, look_up="on")
    with tenant_scope(cast.north):
        revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
        reply = reply_of(cast, told["message"])
        work, found = begin_reply(reply.pk), look_up(reply.pk, None)
        finish_reply(reply.pk, "", state=State.STOPPED)
    assert work is not None
    assert (work.looks_up, list(work.passages), found) == (True, [], [])


def test_a_passage_that_is_gone_is_no_longer_named(
    cast: Cast, bo: Visitor, papers: Document
) -> None:
    told = bo.ask(QUESTION, look_up="on")
    bo.end(told["stream"])
    with tenant_scope(cast.north):
        Passage.objects.all().delete()
    page = bo.http.get(told["url"])
    assert page.status_code == 200
    assert papers.get_absolute_url() not in page.text
