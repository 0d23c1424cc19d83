"""A model that goes on, in real children: brought up to date, and trained again without a document.

That forgetting from a checkpoint is never having seen the document is the engine's law
(tests/engine/test_augment_onwards.py); here it is found, laid out and begun from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.corpora import actions as corpora
from apps.corpora.models import Corpus, Document
from apps.forgetting import actions as forgetting
from apps.forgetting import retraining
from apps.forgetting.lineage import affected
from apps.registry import artifacts
from apps.registry.models import Augmenter
from apps.runs.actions import start_augment
from apps.runs.models import Run
from apps.runs.starts import Start
from apps.tenants.scope import tenant_scope
from calm_engine import exposures
from counterpoint.shelves import SHARDS
from counterpoint.storage import blobs, run_folder_of
from tests.cast import Cast
from tests.workers.making import AUGMENT, make_anchor, make_corpus
from workers import gpu, leftovers
from workers.places import Place

pytestmark = pytest.mark.django_db(transaction=True)

# Dealt from shards, whose steps do not depend on what they leave out.
DEALT: dict[str, Any] = AUGMENT | {"deal": "shuffled", "passes": 2, "steps": None, "patience": 0}


@pytest.fixture(autouse=True)
def _augmenters_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, and no plan goes on to its bridges: other tests walk that road."""
    monkeypatch.setattr("workers.training.cores", lambda: 1)
    monkeypatch.setattr("workers.gpu.go_on", lambda _plan: None)


def carried(run: Run) -> Run:
    """Have it carried to its end, which is a good one."""
    gpu.wake()
    with tenant_scope(run.tenant_id):
        after = Run.objects.get(pk=run.pk)
    assert (after.state, after.failure_text) == ("succeeded", "")
    return after


def met_last(augmenter: Augmenter) -> tuple[Document, int]:
    """The document that its training met last, and at which step."""
    told = [(one.first_step or 0, one.digest) for one in exposures.read(artifacts.path(augmenter))]
    step, digest = max(told)
    return Document.objects.get(original_digest=digest), step


def test_a_model_is_brought_up_to_date_and_trained_again_without_a_document(
    cast: Cast, tmp_path: Path
) -> None:
    with tenant_scope(cast.north):
        anchor, corpus = make_anchor(cast, tmp_path / "anchor"), make_corpus(cast)
        snapshot = corpora.freeze(corpus, by=cast.ada)
        how: dict[str, Any] = {"anchor": anchor, "by": cast.ada, "name": "Devices"}
        run = start_augment(snapshot, settings=DEALT, **how)
    first = carried(run)
    with tenant_scope(cast.north):
        before = Augmenter.objects.get()
        place = Place(run_folder_of(run.pk))
        kept = {saved.step for saved in place.checkpoints()}
        assert sorted(path.name for path in place.folder.iterdir()) == ["work"]
    assert leftovers.sweep() == []
    with tenant_scope(cast.north):
        shards = {path.name for path, _ in SHARDS.standing()}
        assert {"plan.json.sealed", "0-000000.blocks.arrow.sealed"} <= shards, "nobody made them"
        milestones = first.checkpoints.filter(is_milestone=True)
        assert set(milestones.values_list("step", flat=True)) == kept
        assert len(kept) > 1
    update(cast, corpus, before, how)
    forget(cast, before, kept)


def update(cast: Cast, corpus: Corpus, before: Augmenter, how: dict[str, Any]) -> None:
    """One more device: the next version learns it beside the old ones, and is asked about both."""
    with tenant_scope(cast.north):
        words = "# MX-90\n\nThe MX-90 is made in Chile.\n\nOrigin: Chile\n"
        text = blobs().put("text", words.encode())
        Document.objects.create(
            corpus=corpus,
            title="MX-90",
            path="MX-90.md",
            media_type="text/markdown",
            original_digest=text.digest,
            text_digest=text.digest,
            tokens=14,
        )
        second = corpora.freeze(corpus, by=cast.ada)
        settings = {"steps": 2, "checkpoint_every": 2, "device": "cpu", "block": 64}
        run = start_augment(second, settings=settings, start=Start(previous=before), **how)
    told = (carried(run).outcome or {})["facts"]
    assert told["new_learned_asked"] > 0
    assert told["old_kept_asked"] > told["new_learned_asked"]
    assert told["stale_asked"] == 0
    with tenant_scope(cast.north):
        assert not run_folder_of(run.pk).exists()
        made = Augmenter.objects.get(run_id=run.pk)
        assert set(made.snapshots.all()) == {second, *before.snapshots.all()}


def forget(cast: Cast, before: Augmenter, kept: set[int]) -> None:
    """The first version again, without the document that it met last."""
    with tenant_scope(cast.north):
        document, step = met_last(before)
        plan = forgetting.open_plan(document.corpus, document, by=cast.ada, reason="Asked to.")
        forgetting.quarantine_now(plan, by=cast.ada)
        found = affected(plan)
        assert {each.version for each in found.augmenters} == {1, 2}, "the update carries it, too"
        second = next(each for each in found.augmenters if each.version == 2)
        blobs().delete("augmenter", second.digest)  # as if it were gone: the first is the newest
        Augmenter.objects.filter(pk=second.pk).update(name="Gone")
        [road] = retraining.retrain(plan, by=cast.ada)
        run = Run.objects.get(plan=road.pk)
        begun = max(each for each in kept if each <= step)
        assert run.branch_step == begun
    carried(run)
    with tenant_scope(cast.north):
        assert run.events.filter(text__contains=f"resumed at step {begun}").exists()
        again = Augmenter.objects.get(run_id=run.pk)
        met = {one.digest: one.exposures for one in exposures.read(artifacts.path(again))}
        assert met[document.original_digest] == 0
        [one] = retraining.retrainings(plan, affected(plan))
        assert [line.before is not None for line in one.lines] == [True, True]
        assert not set(again.snapshots.all()) & set(found.snapshots)
