"""Forgetting exactly: the same training without a document, from before it was met, and the proof.

The training itself is tests/workers/test_forgetting.py; here stands which one is begun, and what of
it is told.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from django.db.models.functions import Now

from apps.corpora import actions as corpora
from apps.corpora import manifests
from apps.corpora.models import Document, DocumentState, Snapshot
from apps.forgetting import actions, retraining
from apps.forgetting.lineage import affected
from apps.forgetting.models import ForgetPlan
from apps.registry.models import Augmenter
from apps.runs.actions import start_augment
from apps.runs.models import Run
from apps.runs.starts import Start
from apps.tenants.scope import tenant_scope
from calm_engine import exposures
from calm_engine.errors import InputError
from calm_engine.exposures import Exposure
from counterpoint.storage import blobs
from tests.apps.registry.making import make_augmenter
from tests.apps.runs.making import make_anchor, make_corpus
from tests.cast import Cast

MET = 40  # the step that first met the document


def folder_of(augmenter: Augmenter, document: Document) -> Path:
    """As a training leaves it: what it met, and when first."""
    folder = blobs().kind_folder("augmenter") / augmenter.digest
    folder.mkdir()
    exposures.write(folder, [Exposure(document.original_digest, 24, MET), Exposure("f" * 64, 9, 0)])
    return folder


def learned(cast: Cast, *, previous: str | None = None) -> tuple[ForgetPlan, Augmenter, Run]:
    """A model that learned eight documents, and a plan, barred, to forget one of them."""
    corpus, anchor = make_corpus(cast.ada), make_anchor(cast.ada)
    snapshot = corpora.freeze(corpus, by=cast.ada)
    settings = {"width": 64, "heads": 2, "layers": 2, "seed": 3}
    run = start_augment(snapshot, anchor=anchor, settings=settings, by=cast.ada, name="Devices")
    Run.objects.filter(pk=run.pk).update(state="succeeded", outcome={}, finished_at=Now())
    if previous:
        Run.objects.filter(pk=run.pk).update(spec=run.spec | {"previous": previous})
    augmenter = make_augmenter([snapshot], anchor=anchor)
    Augmenter.objects.filter(pk=augmenter.pk).update(run_id=run.pk)
    for step, is_milestone in ((30, True), (38, False), (60, True)):
        digest = sha256(str(step).encode()).hexdigest()
        run.checkpoints.create(
            step=step, epoch=1, bytes=9, digest=digest, is_milestone=is_milestone
        )
    document = corpus.documents.get(title="MX-3")
    folder_of(augmenter, document)
    plan = actions.open_plan(corpus, document, by=cast.ada, reason="She asked to.")
    actions.quarantine_now(plan, by=cast.ada)
    augmenter.refresh_from_db()
    return plan, augmenter, run


def test_it_goes_on_from_the_newest_checkpoint_that_had_not_met_it(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan, augmenter, source = learned(cast)
        [made] = retraining.retrain(plan, by=cast.ada)
        run = Run.objects.get(plan=made.pk)
        assert (run.source, run.branch_step, run.augmenter) == (source, 30, augmenter)
        assert run.spec["forget"] == [plan.digest]
        assert (run.spec["before"], run.spec["previous"]) == ("@previous", None)
        assert (run.spec["width"], run.spec["seed"]) == (64, 3)
        names = {entry.original for entry in manifests.entries(run.snapshot)}
        whole = {entry.original for entry in manifests.entries(source.snapshot)}
        assert whole - names == {plan.digest}
        assert run.snapshot.manifest["examples"] == source.snapshot.manifest["examples"]
        assert retraining.retrain(plan, by=cast.ada) == [], "asked twice, begun once"


def test_what_comes_of_it_is_not_found_to_have_learned_it(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan, augmenter, _ = learned(cast)
        [made] = retraining.retrain(plan, by=cast.ada)
        make_augmenter([made.snapshot], anchor=made.anchor)
        found = affected(plan)
        assert found.augmenters == [augmenter]
        assert made.snapshot not in found.snapshots
        assert not found.learning


def test_what_was_withdrawn_meanwhile_does_not_come_back(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan, _, _ = learned(cast)
        other = Document.objects.get(title="MX-5")
        Document.objects.filter(pk=other.pk).update(
            state=DocumentState.WITHDRAWN, withdrawn_at=Now()
        )
        [made] = retraining.retrain(plan, by=cast.ada)
        assert set(made.forget) == {plan.digest, other.original_digest}
        assert made.snapshot.documents == 6


@pytest.mark.parametrize("case", ["an update", "no exposures", "no milestone"])
def test_without_a_past_that_can_be_gone_on_from_it_begins_anew(cast: Cast, case: str) -> None:
    with tenant_scope(cast.north):
        plan, augmenter, source = learned(cast, previous="@previous" if "update" in case else None)
        if case == "no exposures":
            (blobs().folder("augmenter", augmenter.digest) / exposures.FILE).unlink()
        if case == "no milestone":
            source.checkpoints.filter(step__lte=MET, is_milestone=True).delete()
        [made] = retraining.retrain(plan, by=cast.ada)
        run = Run.objects.get(plan=made.pk)
        assert (run.branch_step, run.spec["forget"]) == (None, [plan.digest])


def test_the_steps_keep_their_order(cast: Cast) -> None:
    with tenant_scope(cast.north):
        corpus = make_corpus(cast.ada)
        document = corpus.documents.get(title="MX-3")
        plan = actions.open_plan(corpus, document, by=cast.ada, reason="Asked.")
        with pytest.raises(InputError, match=r"forget\.order"):
            retraining.retrain(plan, by=cast.ada)
        actions.quarantine_now(plan, by=cast.ada)
        with pytest.raises(InputError, match=r"forget\.untaught"):
            retraining.retrain(plan, by=cast.ada)
        whole = actions.open_plan(corpus, None, by=cast.ada, reason="All of it.")
        actions.quarantine_now(whole, by=cast.ada)
        with pytest.raises(InputError, match=r"forget\.whole"):
            retraining.retrain(whole, by=cast.ada)


def test_nothing_is_destroyed_while_the_training_still_reads_it(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan, augmenter, source = learned(cast)
        [made] = retraining.retrain(plan, by=cast.ada)
        with pytest.raises(InputError, match=r"forget\.live"):
            actions.destroy(plan, by=cast.ada)
        finish(made.pk)
        actions.destroy(plan, by=cast.ada)
        assert not source.checkpoints.exists()
        told = json.loads(actions.certify(plan, by=cast.ada))
        assert told["trained_without_it"] == [
            {
                "model": augmenter.name,
                "instead_of": augmenter.digest,
                "snapshot": made.snapshot.digest,
                "from_step": 30,
                "asked": {
                    "forgotten_recall": {"questions": 12, "before": 100.0, "now": 0.0},
                    "forgotten_extracted": {"questions": 4, "before": 75.0, "now": 0.0},
                },
            }
        ]


def finish(plan: object) -> None:
    """As a worker leaves the training."""
    facts = {"forgotten_recall_asked": 12, "forgotten_extracted_asked": 4}
    before = {"forgotten_recall_before": 1.0, "forgotten_extracted_before": 0.75}
    metrics = {"forgotten_recall": 0.0, "forgotten_extracted": 0.0}
    Run.objects.filter(plan=plan).update(
        state="succeeded",
        finished_at=Now(),
        outcome={"metrics": metrics, "facts": facts | before},
    )


def test_the_page_begins_it_and_shows_before_and_after(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan, _, _ = learned(cast)
    ada = cast.client(cast.ada)
    assert b"Teach again without it" in ada.get(plan.get_absolute_url()).content
    page = ada.post(f"{plan.get_absolute_url()}act", {"verb": "retrain"}, follow=True)
    assert b"from the checkpoint after step 30" in page.content
    assert b"Teach again without it" not in page.content
    with tenant_scope(cast.north):
        finish(Run.objects.get(state="queued").plan)
    text = ada.get(plan.get_absolute_url()).content.decode()
    for words in ("Questions about it that are answered", "100 %", "75 %", "0 % (0)"):
        assert words in text
    refused = cast.client(cast.bo).post(f"{plan.get_absolute_url()}act", {"verb": "retrain"})
    assert refused.status_code == 403


def test_a_snapshot_without_some_documents_is_named_by_what_is_left(cast: Cast) -> None:
    with tenant_scope(cast.north):
        corpus = make_corpus(cast.ada)
        whole = corpora.freeze(corpus, by=cast.ada)
        gone = [entry.original for entry in manifests.entries(whole)][:2]
        rest = corpora.freeze_without(whole, gone, by=cast.ada)
        assert rest == corpora.freeze_without(whole, gone, by=cast.ada)
        corpus.documents.filter(original_digest__in=gone).update(state="excluded")
        assert corpora.freeze(corpus, by=cast.ada).digest == rest.digest
        everything = [entry.original for entry in manifests.entries(whole)]
        with pytest.raises(InputError, match=r"corpus\.empty"):
            corpora.freeze_without(whole, everything, by=cast.ada)
        assert Snapshot.objects.count() == 2


def test_what_went_on_from_what_learned_it_is_found_though_its_snapshot_holds_it_no_more(
    cast: Cast,
) -> None:
    """And is trained again from nothing: of its own documents none is to be forgotten."""
    with tenant_scope(cast.north):
        plan, augmenter, _ = learned(cast)
        corpus = plan.corpus
        assert corpus is not None
        second = corpora.freeze(corpus, by=cast.ada)
        update = start_augment(
            second,
            anchor=augmenter.anchor,
            start=Start(previous=augmenter),
            by=cast.ada,
            name=augmenter.name,
        )
        found = affected(plan)
        assert update in found.learning
        assert second not in found.snapshots
        actions.quarantine_now(plan, by=cast.ada)
        update.refresh_from_db()
        assert (update.state, update.discard) == ("cancelled", True)
        whole = affected(plan).snapshots[0]
        later = make_augmenter([whole, second], anchor=augmenter.anchor)
        Augmenter.objects.filter(pk=later.pk).update(run_id=update.pk)
        (blobs().kind_folder("augmenter") / later.digest).mkdir()
        [made] = retraining.retrain(plan, by=cast.ada)
        run = Run.objects.get(plan=made.pk)
        assert (made.snapshot, run.spec["previous"], run.spec["forget"]) == (second, None, [])
        assert run not in affected(plan).runs
