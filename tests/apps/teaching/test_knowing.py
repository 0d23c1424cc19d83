"""What a curator sees and may reject before training, and the bar that an augmenter must reach."""

from __future__ import annotations

import pytest

from apps.audit.models import AuditEvent
from apps.corpora import manifests
from apps.registry.models import Augmenter
from apps.runs.actions import start_compose
from apps.runs.models import Run
from apps.teaching.actions import go_on, start_plan
from apps.teaching.kinds import LABELS, look_into
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.selfstudy import KINDS
from tests.apps.registry.making import make_augmenter
from tests.apps.runs.making import make_anchor, make_snapshot
from tests.apps.teaching.test_advance import done
from tests.apps.teaching.test_start import asked, teachable
from tests.cast import Cast


def ignorant(cast: Cast) -> Augmenter:
    """An augmenter that knows a third of the only document of its snapshot."""
    snapshot = make_snapshot(cast.ada)
    digest = next(manifests.entries(snapshot)).original
    return make_augmenter(
        [snapshot],
        anchor=make_anchor(cast.ada),
        metrics={"recall": 0.33},
        facts={"unknown": [[digest, 1, 3]]},
    )


def compose(augmenter: Augmenter, cast: Cast, **settings: float) -> Run:
    snapshot = augmenter.snapshots.get()
    return start_compose(augmenter.anchor, augmenter, snapshot, settings=settings, by=cast.ada)


def test_every_kind_has_its_words() -> None:
    assert tuple(LABELS) == KINDS


def test_a_snapshot_shows_what_it_would_teach(cast: Cast) -> None:
    with tenant_scope(cast.north):
        shown = look_into(make_snapshot(cast.ada)).kinds
    assert "passage" in {one.kind for one in shown}
    assert all(one.count >= len(one.samples) > 0 for one in shown)


def test_the_page_shows_samples_by_kind_and_takes_what_is_left_out(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
    client = cast.client(cast.ada)
    text = client.get(f"/teach/?snapshot={snapshot.pk}").content.decode()
    assert 'name="without" value="passage" form="plan-form"' in text
    assert "Let the anchor write further questions" in text
    client.post(
        "/teach/", asked(snapshot, anchor) | {"without": ["passage", "summary"], "writes": "on"}
    )
    with tenant_scope(cast.north):
        run = Run.objects.get(plan=Plan.objects.get(name="Pumps").pk)
    assert (run.spec["without"], run.spec["writes"]) == (["passage", "summary"], True)


def test_a_kind_that_does_not_exist_is_refused_by_the_form(cast: Cast) -> None:
    snapshot, anchor = teachable(cast)
    answer = cast.client(cast.ada).post(
        "/teach/", asked(snapshot, anchor) | {"without": ["spells"]}
    )
    assert answer.status_code == 200
    with tenant_scope(cast.north):
        assert not Plan.objects.filter(name="Pumps").exists()


def test_an_augmenter_below_the_bar_is_refused_with_what_it_does_not_know(cast: Cast) -> None:
    with tenant_scope(cast.north):
        augmenter = ignorant(cast)
        with pytest.raises(InputError) as told:
            compose(augmenter, cast)
        assert told.value.code == "augmenter.recall"
        assert (told.value.facts["recall"], told.value.facts["least"]) == ("33", "50")
        assert str(told.value.facts["documents"]).endswith("(1/3)")
        assert not Run.objects.filter(kind="compose").exists()
        assert not AuditEvent.objects.filter(action="run.start").exists()


def test_a_tenant_sets_its_own_bar_and_a_run_may_name_one(cast: Cast) -> None:
    with tenant_scope(cast.north):
        augmenter = ignorant(cast)
        augmenter.tenant.settings["least_recall"] = 30
        assert compose(augmenter, cast).spec["least_recall"] == 0.3
        with pytest.raises(InputError, match=r"augmenter\.recall"):
            compose(augmenter, cast, least_recall=0.4)


def test_an_augmenter_that_nobody_asked_passes_only_a_bar_of_nought(cast: Cast) -> None:
    with tenant_scope(cast.north):
        anchor = make_anchor(cast.ada)
        augmenter = make_augmenter([make_snapshot(cast.ada)], anchor=anchor, metrics={})
        with pytest.raises(InputError, match=r"augmenter\.unmeasured"):
            compose(augmenter, cast)
        assert compose(augmenter, cast, least_recall=0.0).state == "queued"


def test_a_plan_that_is_refused_says_why_on_its_page(cast: Cast) -> None:
    with tenant_scope(cast.north):
        plan = start_plan(make_snapshot(cast.ada), make_anchor(cast.ada), "Devices", cast.ada)
        done(Run.objects.get(), "augment")
        Augmenter.objects.update(metrics={"recall": 0.2})
        assert go_on(plan.pk) is None
    text = cast.client(cast.ada).get(plan.get_absolute_url()).content.decode()
    assert "answers 20 % of the questions" in text
