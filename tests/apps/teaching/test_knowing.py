"""What a curator sees and may reject before training, and the bar that an augmenter must reach."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from apps.audit.models import AuditEvent
from apps.corpora import manifests
from apps.corpora.actions import freeze
from apps.corpora.models import Document
from apps.registry.models import Augmenter
from apps.runs.actions import start_augment, start_compose
from apps.runs.models import Run
from apps.teaching.actions import go_on, start_plan
from apps.teaching.kinds import LABELS, look_into
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.selfstudy import KINDS, WRITTEN, Source
from calm_engine.selfstudy.prompts import requests_of
from calm_engine.selfstudy.saying import passages_of
from calm_engine.specs import EVERYDAY
from calm_engine.wording import sentence
from counterpoint.shelves import STUDIES, shelf_of
from counterpoint.storage import blobs
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


def test_general_text_is_mixed_in_unless_somebody_says_no(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
    client = cast.client(cast.ada)
    text = client.get(f"/teach/?snapshot={snapshot.pk}").content.decode()
    assert re.search(r'<input[^>]*name="general"[^>]*checked', text)
    assert "loses the language around them" in text
    for name, more in (("Pumps", {"general": "on"}), ("Plain", {})):
        client.post("/teach/", asked(snapshot, anchor) | {"name": name} | more)
    with tenant_scope(cast.north):
        mixed, plain = (Run.objects.get(name=name) for name in ("Pumps", "Plain"))
    assert (mixed.spec["general"], mixed.spec["general_share"]) == (EVERYDAY, 0.1)
    assert plain.spec["general"] is None
    shown = client.get(mixed.get_absolute_url()).content.decode()
    assert EVERYDAY in shown


def test_no_file_of_the_machine_is_mixed_in(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
        for field in ("general", "lessons"):
            with pytest.raises(InputError, match=field):
                start_augment(snapshot, anchor=anchor, settings={field: "/etc/passwd"}, by=cast.ada)
        assert not Run.objects.exists()


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


def test_a_recall_of_some_documents_says_of_how_many(cast: Cast) -> None:
    with tenant_scope(cast.north):
        augmenter = ignorant(cast)
        sampled = {"documents": 160, "of": 20_000, "low": 0.26, "high": 0.41}
        augmenter.facts |= {"sampled": sampled}
        with pytest.raises(InputError) as told:
            compose(augmenter, cast)
    said = "Asked were 160 of 20,000 documents, so that in all it may be 26 to 41 %."
    assert said in sentence(told.value)
    assert "(1/3)" in sentence(told.value)


def test_a_model_says_which_general_text_it_read(cast: Cast) -> None:
    with tenant_scope(cast.north):
        told = {"general": {"name": EVERYDAY, "digest": "ab" * 32}}
        row = make_augmenter([make_snapshot(cast.ada)], anchor=make_anchor(cast.ada), facts=told)
    page = cast.client(cast.ada).get(row.get_absolute_url()).content.decode()
    assert f'{EVERYDAY} <code class="digest">{"ab" * 32}' in page


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


def test_what_the_anchor_wrote_before_is_shown_by_kind_to_readers(
    cast: Cast, tmp_path: Path
) -> None:
    """Of what was written only that which its passage bears out, as a training would take it."""
    words = "The pump of the old mill was built in Lisbon in 1950. " * 4
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
        text = blobs().put("text", words.encode())
        for entry in manifests.entries(snapshot):
            Document.objects.filter(original_digest=entry.original).update(text_digest=text.digest)
        snapshot = freeze(snapshot.corpus, by=cast.ada)
        source = Source("d", "t", words)
        passage = next(iter(passages_of(source))).said.strip()
        asked = {one.kind: one for one in requests_of(source, passage, WRITTEN)}
        said = {
            "question": "Question: Where was the pump built?\nAnswer: Lisbon",
            "summary": "The mill was sold to Oslo in 1999.",
        }
        rows = [json.dumps({"key": asked[kind].key, "text": said[kind]}) for kind in said]
        (tmp_path / "study").mkdir()
        (tmp_path / "study" / "w.jsonl").write_text("\n".join(rows), encoding="utf-8")
        STUDIES.keep(shelf_of(snapshot.closure), tmp_path / "study")
        shown = {one.kind: one.count for one in look_into(snapshot).written}
    assert (shown["question"], shown["summary"]) == (1, 0)
    address = f"/teach/?snapshot={snapshot.pk}&anchor={anchor.pk}"
    assert "Where was the pump built?" in cast.client(cast.ada).get(address).content.decode()
    assert "Where was the pump built?" not in cast.client(cast.bo).get(address).content.decode()
