"""Forgetting: found by lineage, barred at once, destroyed when nothing is live, certified; held."""

from __future__ import annotations

import base64
import json
from datetime import date, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.utils import timezone

from apps.audit import holds
from apps.audit.anchors import canonical
from apps.audit.models import AuditEvent, Hold
from apps.chat import retention
from apps.chat.actions import delete
from apps.chat.models import Conversation
from apps.corpora.models import Corpus, Document, DocumentState
from apps.forgetting import actions
from apps.forgetting.lineage import affected
from apps.forgetting.models import ForgetPlan
from apps.registry.closure import can_use
from apps.registry.models import Alias, Augmenter, Composition, Placement
from apps.runs import claims
from apps.runs.actions import start_augment
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.storage import blobs, run_folder
from tests.apps.runs.making import make_anchor
from tests.browser.making import fill
from tests.cast import Cast


def opened(cast: Cast, *, whole: bool = False) -> ForgetPlan:
    """A plan for a document that a live composition learned."""
    rows = fill(cast)
    document = next(row for row in rows if isinstance(row, Document))
    with tenant_scope(cast.north):
        named = None if whole else document
        return actions.open_plan(document.corpus, named, by=cast.ada, reason="She asked to.")


def workers_let_go() -> None:
    """Whatever was asked to stop has stopped."""
    asked = Run.objects.active().exclude(cancel_requested_at=None)
    asked.update(state="cancelled", finished_at=timezone.now(), lease_until=None, owner="")


def with_weights(plan: ForgetPlan) -> list[tuple[str, str]]:
    """Folders where the weights of what the plan touches would lie."""
    found = affected(plan)
    places = [("augmenter", each.digest) for each in found.augmenters]
    places += [("composition", each.digest) for each in found.compositions]
    for kind, digest in places:
        folder = blobs().kind_folder(kind) / digest
        folder.mkdir(exist_ok=True)
        (folder / "weights").write_bytes(b"numbers")
    for run in found.runs:
        (run_folder(run.pk) / "checkpoint").write_bytes(b"numbers")
    return places


@pytest.mark.parametrize("whole", [False, True])
def test_lineage_finds_everything_that_learned_it(cast: Cast, whole: bool) -> None:
    plan = opened(cast, whole=whole)
    with tenant_scope(cast.north):
        found = affected(plan)
        assert [type(row) for row in (*found.augmenters, *found.compositions)] == [
            Augmenter,
            Composition,
        ]
        assert (len(found.snapshots), found.answers) == (1, 1)
        assert found.live == found.compositions


def test_what_never_entered_a_snapshot_touches_nothing(cast: Cast) -> None:
    fill(cast)
    with tenant_scope(cast.north):
        corpus = Corpus.objects.get()
        late = Document.objects.create(
            corpus=corpus,
            title="late",
            path="late.md",
            media_type="text/markdown",
            original_digest="1" * 64,
            text_digest="2" * 64,
        )
        plan = actions.open_plan(corpus, late, by=cast.ada, reason="A slip.")
        assert affected(plan).compositions == []


def test_the_plan_goes_its_way_to_a_certificate_that_anybody_can_check(cast: Cast) -> None:
    plan = opened(cast)
    with tenant_scope(cast.north):
        model = Composition.objects.get()
        places = with_weights(plan)
        for too_early in (actions.destroy, actions.certify):
            with pytest.raises(InputError, match=r"forget\.order"):
                too_early(plan, by=cast.ada)
        assert actions.quarantine_now(plan, by=cast.ada) == 1
        assert not can_use(cast.ada, Composition.objects.get())
        assert Document.objects.get(pk=plan.document_id).state == DocumentState.WITHDRAWN
        with pytest.raises(InputError, match=r"forget\.live"):
            actions.destroy(plan, by=cast.ada)
        Alias.objects.all().delete()
        with pytest.raises(InputError, match=r"forget\.live"):
            actions.destroy(plan, by=cast.ada)
        Placement.objects.all().delete()
        with pytest.raises(InputError, match=r"forget\.live"):
            actions.destroy(plan, by=cast.ada)
        workers_let_go()
        actions.destroy(plan, by=cast.ada)
        assert not any(blobs().exists(kind, digest) for kind, digest in places)
        text = actions.certify(plan, by=cast.ada)
        told = json.loads(text)
        assert told["left"] == []
        assert model.digest in told["destroyed"]["composition"]
        signature = base64.b64decode(told.pop("signature"))
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(told["key"]))
        key.verify(signature, canonical(told))
        acts = set(AuditEvent.objects.values_list("action", flat=True))
        assert {"forget.open", "forget.quarantine", "forget.destroy", "forget.certify"} <= acts


@pytest.mark.parametrize("state", ["queued", "running"])
def test_what_is_learning_it_is_stopped_and_nothing_is_destroyed_before(
    cast: Cast, state: str
) -> None:
    plan = opened(cast)
    with tenant_scope(cast.north):
        Alias.objects.all().delete()
        Placement.objects.all().delete()
        (snapshot,) = affected(plan).snapshots
        anchor = make_anchor(cast.ada)
        run = start_augment(snapshot, anchor=anchor, by=cast.ada, name="Another")
        if state == "running":
            assert claims.claim("gpu", "a worker") is not None
        actions.quarantine_now(plan, by=cast.ada)
        run.refresh_from_db()
        assert run.cancel_requested_at is not None
        assert (run.discard, run.is_final) == (True, state == "queued")
        if state == "running":
            with pytest.raises(InputError, match=r"forget\.live"):
                actions.destroy(plan, by=cast.ada)
        workers_let_go()
        actions.destroy(plan, by=cast.ada)


def test_a_text_that_another_document_still_names_stays(cast: Cast) -> None:
    plan = opened(cast)
    with tenant_scope(cast.north):
        document = Document.objects.get(pk=plan.document_id)
        gone = actions.texts_of(plan)
        assert gone["original"] == [document.original_digest]
        assert document.text_digest not in gone["text"]  # the other document has the same text


def test_a_hold_beats_the_plan_and_says_whose_it_is(cast: Cast) -> None:
    plan = opened(cast)
    with tenant_scope(cast.north):
        hold = holds.place(
            Hold.Kind.CORPUS,
            plan.corpus,
            by=cast.otto,
            reason="A court asks.",
            review_on=date(2030, 1, 1),
        )
        actions.quarantine_now(plan, by=cast.ada)  # closing is never held back
        with pytest.raises(InputError) as refused:
            actions.destroy(plan, by=cast.ada)
        assert refused.value.facts["by"] == "Otto Veen"
        with pytest.raises(InputError, match=r"hold\.stands"):
            actions.open_plan(plan.corpus, None, by=cast.ada, reason="Again.")
        holds.lift(hold, by=cast.otto)
        holds.require_free(Hold.Kind.CORPUS, plan.corpus_id)


def test_only_whoever_curates_the_corpus_has_it_forgotten(cast: Cast) -> None:
    rows = fill(cast)
    corpus = next(row for row in rows if isinstance(row, Corpus))
    with tenant_scope(cast.north), pytest.raises(InputError, match=r"forget\.right"):
        actions.open_plan(corpus, None, by=cast.bo, reason="Why not.")


def test_conversations_lapse_after_their_days_and_a_hold_keeps_them(cast: Cast) -> None:
    fill(cast)
    cast.north.settings = {"conversation_days": 30}
    cast.north.save()
    with tenant_scope(cast.north):
        here = Conversation.objects.get()
        assert retention.due().count == 0
        Conversation.objects.update(updated_at=timezone.now() - timedelta(days=31))
        assert retention.due().count == 1
        hold = holds.place(
            "person", cast.ada, by=cast.otto, reason="A court asks.", review_on=date(2030, 1, 1)
        )
        assert (retention.due().count, retention.due().kept_by_holds) == (0, 1)
        assert [retention.run(), retention.run()] == [0, 0]
        last = AuditEvent.objects.get(action="retention.run")  # a day's proof that somebody looked
        assert last.facts["conversations"] == 0
        with pytest.raises(InputError, match=r"hold\.stands"):
            delete(here, by=cast.ada)
        holds.lift(hold, by=cast.otto)
        assert retention.run() == 1
        assert not Conversation.objects.exists()
        assert retention.due().last_run.facts["conversations"] == 1


def test_the_pages_walk_the_same_way(cast: Cast) -> None:
    rows = fill(cast)
    document = next(row for row in rows if isinstance(row, Document))
    ada = cast.client(cast.ada)
    sent = {"corpus": str(document.corpus_id), "document": str(document.pk), "reason": "Asked to."}
    page = ada.post("/forget/", sent, follow=True)
    assert b"1 answer in conversations came from them" in page.content
    with tenant_scope(cast.north):
        plan = ForgetPlan.objects.get()
    assert b"Quarantine now" in ada.get(f"/forget/{plan.pk}/").content
    ada.post(f"/forget/{plan.pk}/act", {"verb": "quarantine"})
    page = ada.post(f"/forget/{plan.pk}/act", {"verb": "destroy"}, follow=True)
    assert b"still in use" in page.content
    assert ada.get(f"/forget/{plan.pk}/certificate").status_code == 404
    assert b"Gauges" in ada.get("/forget/").content
    placed = {"what": f"person:{cast.bo.pk}", "reason": "A court asks.", "review_on": "2030-01-01"}
    ada.post("/forget/holds/", placed)
    assert b"A court asks." in cast.client(cast.otto).get("/forget/holds/").content
    assert cast.client(cast.bo).get("/forget/holds/").status_code == 403
    assert ada.post("/forget/holds/", placed | {"what": "person:"}).status_code == 404
