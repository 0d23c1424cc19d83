"""What quotes a forgotten document goes with it, or stays shut, as the organisation's rules say."""

from __future__ import annotations

import json
from datetime import date

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import User
from apps.audit import holds
from apps.audit.models import Hold
from apps.chat.actions import title_from
from apps.chat.models import Conversation, Message, Role, State
from apps.corpora.models import Corpus, Document, Example, Passage
from apps.evaluation.models import Report
from apps.forgetting import actions
from apps.forgetting.lineage import affected
from apps.forgetting.models import ForgetPlan
from apps.forgetting.stretches import LEAST, Quoted
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
        follows=talk.messages.filter(role=Role.ASSISTANT).first(),
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


# --- what people pasted elsewhere -----------------------------------------------------------------

SECRET = (
    "The seal of the valve was replaced twice in March because its rim had cracked in the cold."
)
PASTED = f"Please put this into French:\n\n> {SECRET.upper().replace(' ', '  ')}\n\nThank you."
REPEATED = "It says that the valve was replaced twice in March because its rim had broken."


def with_words(cast: Cast, plan: ForgetPlan, *texts: str) -> None:
    with tenant_scope(cast.north):
        for place, text in enumerate(texts or ("Service report.", SECRET)):
            Passage.objects.create(
                corpus=plan.corpus,
                document=plan.document,
                page=0,
                start=place * 1000,
                end=place * 1000 + len(text),
                body=text,
            )


def pasted(cast: Cast, owner: User, question: str, answer: str) -> Conversation:
    """A conversation with a model that never learned the document."""
    with tenant_scope(cast.north):
        talk = Conversation.objects.create(owner=owner, title=title_from(question), model="other")
        one_more_exchange(cast, talk)
        talk.messages.filter(role=Role.USER).update(text=question)
        talk.messages.filter(role=Role.ASSISTANT).update(text=answer)
    return talk


def test_words_that_somebody_pasted_elsewhere_are_struck_out_and_the_rest_stays(
    cast: Cast, plan: ForgetPlan
) -> None:
    with_words(cast, plan)
    talk = pasted(cast, cast.bo, PASTED, REPEATED)
    page = cast.client(cast.ada).get(f"/forget/{plan.pk}/").content.decode()
    assert "2 more messages repeat eight words of it" in page
    assert "valve" not in page  # how many, and never what
    with tenant_scope(cast.north):
        actions.destroy(plan, by=cast.ada)
        question, answer = [each.text for each in talk.messages.all()]
        talk.refresh_from_db()
    assert question == "Please put this into French:\n\n> [forgotten].\n\nThank you."
    assert answer == "It says that [forgotten] broken."
    assert "SEAL" not in talk.title
    assert plan.rows["quotes"] == 2


def test_a_run_over_the_edge_of_two_passages_is_one(cast: Cast, plan: ForgetPlan) -> None:
    with_words(cast, plan, "It began on the second of", "March when the rim had cracked.")
    talk = pasted(cast, cast.bo, "on the second of March when the rim?", "Rain.")
    with tenant_scope(cast.north):
        actions.destroy(plan, by=cast.ada)
        assert [each.text for each in talk.messages.all()] == ["[forgotten]?", "Rain."]


def test_seven_words_in_a_row_and_other_peoples_words_stay(cast: Cast, plan: ForgetPlan) -> None:
    with_words(cast, plan)
    question = "Was the valve replaced twice in March because of rain?"
    talk = pasted(cast, cast.bo, question, "The seal of the valve was replaced once, in May.")
    with tenant_scope(cast.north):
        before = [each.text for each in talk.messages.all()]
        actions.destroy(plan, by=cast.ada)
        assert [each.text for each in talk.messages.all()] == before
        assert plan.rows["quotes"] == 0


def test_where_answers_are_kept_shut_what_stays_open_is_struck_all_the_same(
    cast: Cast, plan: ForgetPlan
) -> None:
    cast.north.settings = {"keep_forgotten_answers": True}
    cast.north.save()
    with_words(cast, plan)
    talk = pasted(cast, cast.bo, PASTED, "Rain.")
    with tenant_scope(cast.north):
        shut = Message.objects.filter(role=Role.USER).exclude(conversation=talk)
        shut.update(text=SECRET)
        actions.destroy(plan, by=cast.ada)
        assert shut.get().text == SECRET
        assert not talk.messages.filter(text__icontains="valve").exists()
        assert plan.rows["quotes"] == 1


def test_a_hold_on_whoever_pasted_keeps_their_words(cast: Cast, plan: ForgetPlan) -> None:
    with_words(cast, plan)
    talk = pasted(cast, cast.bo, PASTED, "Rain.")
    with tenant_scope(cast.north):
        day = date(2030, 1, 1)
        holds.place(Hold.Kind.PERSON, cast.bo, by=cast.otto, reason="Court.", review_on=day)
        with pytest.raises(InputError, match=r"hold\.stands"):
            actions.destroy(plan, by=cast.ada)
        assert talk.messages.first().text == PASTED


def test_what_says_nearly_the_same_is_named_and_left(cast: Cast, plan: ForgetPlan) -> None:
    with tenant_scope(cast.north):
        copy = Document.objects.exclude(pk=plan.document_id).get()
        Document.objects.filter(pk=copy.pk).update(
            duplicate_of=plan.document, state="duplicate", text_digest="e" * 64
        )
    page = cast.client(cast.ada).get(f"/forget/{plan.pk}/").content.decode()
    assert "1 more document says the same or nearly the same" in page
    assert copy.get_absolute_url() in page
    with tenant_scope(cast.north):
        actions.destroy(plan, by=cast.ada)
        told = json.loads(actions.certify(plan, by=cast.ada))
    assert told["same_text_left"] == [copy.original_digest]


SAID = st.lists(st.sampled_from(["a", "b", "c"]), max_size=40)


@given(documents=st.lists(SAID, max_size=3), said=SAID)
def test_runs_are_those_that_looking_everywhere_finds(
    documents: list[list[str]], said: list[str]
) -> None:
    shared = set()
    for at in range(len(said) - LEAST + 1):
        run = said[at : at + LEAST]
        for there in documents:
            if any(there[k : k + LEAST] == run for k in range(len(there))):
                shared.update(range(at, at + LEAST))
    text = " ".join(said)
    found = {
        place // 2  # each word is one letter and a space
        for begin, end in Quoted(documents).runs(text)
        for place in range(begin, end, 2)
    }
    assert found == shared
