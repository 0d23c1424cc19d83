"""The page that starts a plan: who is offered what, what stands in the way, and the first run."""

from __future__ import annotations

from uuid import uuid4

import pytest

from apps.accounts.models import Quota
from apps.corpora.models import Example, Snapshot
from apps.registry.models import Anchor
from apps.runs.actions import DOCUMENTS, checked, trial_spec
from apps.runs.models import Run
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.browser.making import digest, fill
from tests.cast import Cast


def teachable(cast: Cast) -> tuple[Snapshot, Anchor]:
    """A snapshot with an example for the bridges and a question kept back."""
    fill(cast)
    with tenant_scope(cast.north):
        known = Snapshot.objects.get()
        manifest = known.manifest | {
            "examples": [[digest("example"), "unseen_entity"], [digest("other"), "bridge"]]
        }
        Example.objects.create(
            corpus=known.corpus,
            digest=digest("other"),
            question="Where was the MX-200 designed?",
            answer="Portugal",
            expected="Portugal",
            entity="MX-200",
            value="Portugal",
            added_by=cast.ada,
        )
        snapshot = Snapshot.objects.create(
            corpus=known.corpus,
            digest=digest("second"),
            manifest=manifest,
            documents=2,
            tokens=663,
            frozen_by=cast.ada,
        )
        return snapshot, Anchor.objects.get()


def asked(snapshot: Snapshot, anchor: Anchor, preset: str = "quick") -> dict[str, object]:
    return {"snapshot": snapshot.pk, "anchor": anchor.pk, "name": "Pumps", "preset": preset}


def test_the_audience_is_told_before_anything_starts(cast: Cast) -> None:
    snapshot, _ = teachable(cast)
    with tenant_scope(cast.north):
        name = snapshot.corpus.name
    text = cast.client(cast.ada).get(f"/teach/?snapshot={snapshot.pk}").content.decode()
    assert f"2 people, who may read {name}" in text
    assert "Ada Lind" in text


def test_what_stands_in_the_way_is_told_with_a_link(cast: Cast) -> None:
    fill(cast)  # its only example is kept back for measuring
    text = cast.client(cast.ada).get("/teach/").content.decode()
    assert "no example that the bridges may learn from" in text
    assert "disabled" in text


def test_starting_opens_a_plan_and_queues_its_first_run(cast: Cast) -> None:
    snapshot, anchor = teachable(cast)
    answer = cast.client(cast.ada).post("/teach/", asked(snapshot, anchor))
    with tenant_scope(cast.north):
        plan = Plan.objects.get(name="Pumps")
        run = Run.objects.get(plan=plan.pk)
    assert answer["Location"] == plan.get_absolute_url()
    assert (run.kind, run.state) == ("augment", "queued")
    assert run.spec["steps"] == 20


def test_what_is_chosen_under_advanced_stands_in_the_settings_that_runs_freeze(
    cast: Cast,
) -> None:
    snapshot, anchor = teachable(cast)
    chosen = {"follows": "on", "sieve": "on", "judge": str(anchor.pk)}
    told = cast.client(cast.ada).get("/teach/", asked(snapshot, anchor) | chosen)
    assert b"<details open>" in told.content
    cast.client(cast.ada).post("/teach/", asked(snapshot, anchor) | chosen)
    with tenant_scope(cast.north):
        plan = Plan.objects.get(name="Pumps")
        bridges = plan.settings["compose"]
        spec = trial_spec(snapshot, plan.settings).compose
    assert (bridges["passages"], bridges["sieve"]) == (DOCUMENTS, True)
    assert "teacher_share" not in bridges
    assert plan.settings["evaluate"]["judge"] == str(anchor.pk)
    assert spec is not None
    assert (spec.passages, spec.sieve, spec.teacher_share) == (DOCUMENTS, True, 0.5)


def test_no_folder_but_the_snapshots_own_documents_can_be_chosen() -> None:
    assert checked({"passages": DOCUMENTS, "steps": 3}) == {"passages": DOCUMENTS, "steps": 3}
    for folder in ("/elsewhere", "@output"):
        with pytest.raises(InputError, match=r"spec\.unknown"):
            checked({"passages": folder})


@pytest.mark.parametrize("more", [{}, {"sieve": "on"}])
def test_bridges_always_learn_behind_passages_and_follow_the_anchor_only_where_asked(
    more: dict[str, str], cast: Cast
) -> None:
    snapshot, anchor = teachable(cast)
    cast.client(cast.ada).post("/teach/", asked(snapshot, anchor) | more)
    with tenant_scope(cast.north):
        plan = Plan.objects.get(name="Pumps")
        spec = trial_spec(snapshot, plan.settings).compose
    assert spec is not None
    assert (spec.passages, spec.teacher_share) == (DOCUMENTS, 0.0)
    assert spec.surrounded_share > 0
    assert "judge" not in plan.settings["evaluate"]


def test_who_is_no_anchor_here_judges_nothing(cast: Cast) -> None:
    snapshot, anchor = teachable(cast)
    choice = asked(snapshot, anchor) | {"judge": str(uuid4())}
    assert cast.client(cast.ada).post("/teach/", choice).status_code == 200
    with tenant_scope(cast.north):
        assert not Plan.objects.filter(name="Pumps").exists()


def test_whose_accelerator_minutes_are_used_up_is_told_so(cast: Cast) -> None:
    snapshot, anchor = teachable(cast)
    with tenant_scope(cast.north):
        Quota.objects.create(kind=Quota.Kind.GPU_MINUTES, user=cast.ada, amount=0)
    page = cast.client(cast.ada).post("/teach/", asked(snapshot, anchor)).content.decode()
    assert "The limit of 0 accelerator minutes a month is used up for you" in page
    with tenant_scope(cast.north):
        assert not Plan.objects.filter(name="Pumps").exists()


def test_an_employee_may_not_teach(cast: Cast) -> None:
    snapshot, anchor = teachable(cast)
    assert cast.client(cast.bo).post("/teach/", asked(snapshot, anchor)).status_code == 403


def test_a_snapshot_of_another_tenant_is_not_there(cast: Cast) -> None:
    snapshot, _ = teachable(cast)
    assert cast.client(cast.cy).get(f"/teach/?snapshot={snapshot.pk}").status_code == 404


def test_an_unreadable_snapshot_id_is_not_there(cast: Cast) -> None:
    assert cast.client(cast.ada).get("/teach/?snapshot=nonsense").status_code == 404
