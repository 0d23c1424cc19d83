"""What quotes a forgotten document goes with it, or stays shut, as the organisation's rules say."""

from __future__ import annotations

import json
from datetime import date

import pytest
from django.utils import timezone

from apps.audit import holds
from apps.audit.models import Hold
from apps.chat.models import Conversation, Message, Role, State
from apps.corpora.models import Corpus, Document, Example
from apps.evaluation.models import Report
from apps.forgetting import actions
from apps.forgetting.lineage import affected
from apps.forgetting.models import ForgetPlan
from apps.registry.models import Alias, Placement
from apps.runs.models import Run, RunSample
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.storage import blobs
from tests.apps.registry.making import make_augmenter, make_composition
from tests.apps.runs.making import make_snapshot
from tests.browser.making import fill
from tests.cast import Cast


@pytest.fixture
def plan(cast: Cast) -> ForgetPlan:
    """One for a document, at the step before destruction."""
    document = next(row for row in fill(cast) if isinstance(row, Document))
    return ready(cast, document.corpus, document)


def ready(cast: Cast, corpus: Corpus, document: Document | None) -> ForgetPlan:
    with tenant_scope(cast.north):
        made = actions.open_plan(corpus, document, by=cast.ada, reason="She asked to.")
        actions.quarantine_now(made, by=cast.ada)
        Alias.objects.all().delete()
        Placement.objects.all().delete()
        ended = {"state": "cancelled", "finished_at": timezone.now(), "lease_until": None}
        Run.objects.active().update(owner="", **ended)
    return made


def one_more_exchange(cast: Cast, talk: Conversation) -> None:
    """Another model, of another corpus, answers in the same conversation."""
    snapshot = make_snapshot(cast.ada, "Elsewhere")
    anchor = Message.objects.get(role=Role.ASSISTANT).maker.anchor
    model = make_composition([make_augmenter([snapshot], anchor=anchor)], snapshot=snapshot)
    place = 1 + talk.messages.count()
    asked = Message.objects.create(
        conversation=talk,
        position=place,
        follows=talk.messages.get(role=Role.ASSISTANT),
        role=Role.USER,
        text="And the weather?",
        state=State.COMPLETE,
        finished_at=timezone.now(),
    )
    Message.objects.create(
        conversation=talk,
        position=place + 1,
        role=Role.ASSISTANT,
        parent=asked,
        text="Rain.",
        state=State.COMPLETE,
        composition=model,
        finished_at=timezone.now(),
    )


def test_answers_go_with_their_questions_and_others_of_the_conversation_stay(
    cast: Cast, plan: ForgetPlan
) -> None:
    with tenant_scope(cast.north):
        talk = Conversation.objects.get()
        one_more_exchange(cast, talk)
        Conversation.objects.update(title=talk.messages.first().text[:80])
        actions.destroy(plan, by=cast.ada)
        assert [each.text for each in talk.messages.all()] == ["And the weather?", "Rain."]
        talk.refresh_from_db()
        assert talk.title == "forgotten"
        assert plan.rows["answers"] == 1
        told = json.loads(actions.certify(plan, by=cast.ada))
    assert (told["answers_left"], told["answers_are"]) == (0, "destroyed")


def test_a_conversation_of_nothing_else_goes_whole(cast: Cast, plan: ForgetPlan) -> None:
    page = cast.client(cast.ada).get(f"/forget/{plan.pk}/").content.decode()
    assert "They are destroyed with the questions that they answer" in page
    with tenant_scope(cast.north):
        actions.destroy(plan, by=cast.ada)
        assert not Conversation.objects.exists()
        assert plan.rows["conversations"] == 1


def test_the_organisation_may_keep_them_shut(cast: Cast, plan: ForgetPlan) -> None:
    cast.north.settings = {"keep_forgotten_answers": True}
    cast.north.save()
    client = cast.client(cast.ada)
    assert "kept, by the rules" in client.get(f"/forget/{plan.pk}/").content.decode()
    with tenant_scope(cast.north):
        talk = Conversation.objects.get()
        answer = talk.messages.get(role=Role.ASSISTANT)
        actions.destroy(plan, by=cast.ada)
        told = json.loads(actions.certify(plan, by=cast.ada))
    assert (told["answers_left"], told["answers_are"]) == (1, "kept, shut to everybody")
    page = client.get(f"/chat/{talk.pk}/").content.decode()
    assert "Locked conversation" in page
    assert answer.text.splitlines()[0][:20] not in page


def test_reports_samples_and_controls_go_and_the_certificate_looks_for_them(
    cast: Cast, plan: ForgetPlan
) -> None:
    with tenant_scope(cast.north):
        report = Report.objects.get()
        places = [("report", report.items_digest), ("control", "c" * 64)]
        for kind, digest in places:
            (blobs().kind_folder(kind) / digest).write_bytes(b"What is it? 40 bar.")
        run = next(each for each in affected(plan).runs if each.kind == "compose")
        Run.objects.filter(pk=run.pk).update(
            control="random", outcome={"digest": "c" * 64}, samples=[{"answer": "40 bar"}]
        )
        RunSample.objects.create(run=run, step=1, samples=[{"answer": "40 bar"}])
        actions.destroy(plan, by=cast.ada)
        assert not any(blobs().exists(kind, digest) for kind, digest in places)
        assert not RunSample.objects.exists()
        run.refresh_from_db()
        assert run.samples == []
        assert Example.objects.count() == 1  # a document's: nobody knows whose words it has
        (blobs().kind_folder("report") / report.items_digest).write_bytes(b"")
        told = json.loads(actions.certify(plan, by=cast.ada))
    assert told["left"] == [report.items_digest]  # looked for, not remembered


def test_a_whole_corpus_takes_its_examples_along(cast: Cast) -> None:
    corpus = next(row for row in fill(cast) if isinstance(row, Corpus))
    plan = ready(cast, corpus, None)
    with tenant_scope(cast.north):
        actions.destroy(plan, by=cast.ada)
        assert not Example.objects.exists()
        assert plan.rows["examples"] == 1


def test_a_hold_on_whoever_asked_keeps_their_answers(cast: Cast, plan: ForgetPlan) -> None:
    with tenant_scope(cast.north):
        day = date(2030, 1, 1)
        hold = holds.place(Hold.Kind.PERSON, cast.ada, by=cast.otto, reason="Court.", review_on=day)
        with pytest.raises(InputError, match=r"hold\.stands"):
            actions.destroy(plan, by=cast.ada)
        assert Message.objects.count() == 2
        holds.lift(hold, by=cast.otto)
        actions.destroy(plan, by=cast.ada)
        assert not Message.objects.exists()
