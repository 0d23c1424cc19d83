"""What a model may begin as: nothing, an open model of the same words, or the version before it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.corpora import actions as corpora
from apps.corpora.models import Snapshot
from apps.registry.actions import quarantine
from apps.registry.models import Anchor, Augmenter
from apps.runs import claims, starts
from apps.runs.actions import finish_augment, start_augment
from apps.runs.models import Run
from apps.runs.starts import Start
from apps.runs.wishes import repeat
from apps.teaching.actions import start_of, start_plan
from apps.teaching.beginnings import chosen, offer
from apps.teaching.models import Plan
from apps.teaching.presets import settings_of
from apps.teaching.trying import newest
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.specs import Outcome
from counterpoint.storage import blobs
from tests.apps.registry.making import make_augmenter, make_composition, outcome
from tests.apps.runs.making import make_anchor, make_corpus, make_snapshot
from tests.cast import Cast

WORDS = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<end>"}]}


def with_words(anchor: Anchor, words: dict[str, Any]) -> Anchor:
    """Its tokenizer's file, where its folder would lie."""
    folder = blobs().kind_folder("anchor") / anchor.digest
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    return anchor


def asked(snapshot: Snapshot, anchor: Anchor, **more: str) -> dict[str, str]:
    told = {"snapshot": str(snapshot.pk), "anchor": str(anchor.pk), "name": "Pumps"}
    return told | {"preset": "standard"} | more


def taught(cast: Cast) -> tuple[Snapshot, Anchor, Augmenter]:
    snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
    return snapshot, anchor, make_augmenter([snapshot], anchor=anchor)


def test_the_newest_version_is_gone_on_from_unless_somebody_chooses(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor, first = taught(cast)
        second = make_augmenter([snapshot], anchor=anchor)
    client = cast.client(cast.ada)
    text = client.get(f"/teach/?snapshot={snapshot.pk}").content.decode()
    assert f'value="earlier:{second.pk}" selected' in text
    assert f'value="earlier:{first.pk}"' in text
    client.post("/teach/", asked(snapshot, anchor))
    client.post("/teach/", asked(snapshot, anchor, begin="nothing", name="Others"))
    with tenant_scope(cast.north):
        run = Run.objects.get(name="Pumps")
        assert (run.augmenter, run.spec["previous"]) == (second, "@previous")
        assert run.spec["previous_documents"] == "@previous_documents"
        other = Run.objects.get(name="Others")
        assert (other.augmenter, other.spec["previous"]) == (None, None)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "Goes on from" in page
    assert str(second) in page


def test_a_quick_check_goes_on_in_the_shape_that_there_is(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor, _ = taught(cast)
    cast.client(cast.ada).post("/teach/", asked(snapshot, anchor) | {"preset": "quick"})
    with tenant_scope(cast.north):
        spec = Run.objects.get().spec
    assert (spec["width"], spec["steps"], spec["previous"]) == (None, 20, "@previous")


def test_what_would_carry_more_on_than_is_taught_is_not_offered(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor, barred = taught(cast)
        other = make_snapshot(cast.ada, "Others")
        make_augmenter([snapshot, other], anchor=anchor, name="Wider")
        make_augmenter([snapshot], anchor=make_anchor(cast.ada, "Another"), name="Elsewhere")
        kept = make_augmenter([snapshot], anchor=anchor, name="Kept")
        quarantine(make_composition([barred], snapshot=snapshot), by=cast.ada, reason="Asked to.")
        values = [each.value for each in offer(snapshot, anchor, [anchor], by=cast.ada)]
        assert values == [f"earlier:{kept.pk}", "nothing"]
        assert [each.value for each in offer(snapshot, anchor, [], by=cast.bo)] == ["nothing"]


def test_a_choice_that_is_not_offered_starts_nothing(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor, _ = taught(cast)
    answer = cast.client(cast.ada).post("/teach/", asked(snapshot, anchor, begin="earlier:x"))
    assert b"no longer offered" in answer.content
    with tenant_scope(cast.north):
        assert not Plan.objects.exists()


def test_an_open_model_is_offered_where_it_reads_the_same_tokens(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), with_words(make_anchor(cast.ada), WORDS)
        base = with_words(make_anchor(cast.ada, "Base"), WORDS | {"version": "1.0"})
        other = with_words(make_anchor(cast.ada, "Other"), {"model": {"vocab": {"b": 0, "a": 1}}})
        gone = make_anchor(cast.ada, "Gone")
        every = [anchor, base, other, gone]
        values = {each.value for each in offer(snapshot, anchor, every, by=cast.ada)}
        assert values == {"nothing", f"base:{anchor.pk}", f"base:{base.pk}"}
        Anchor.objects.filter(pk=base.pk).update(parameters=5)
        base.refresh_from_db()
        offered = offer(snapshot, anchor, [base], by=cast.ada)
        assert [each.value for each in offered] == ["nothing"], "larger than the anchor"
    client = cast.client(cast.ada)
    client.post("/teach/", asked(snapshot, anchor, begin=f"base:{anchor.pk}"))
    with tenant_scope(cast.north):
        run = Run.objects.get()
        assert (run.base, run.spec["base"]) == (anchor, "@base")
        assert start_of(Plan.objects.get()) == Start(base=anchor)
        assert repeat(run, by=cast.ada).base == anchor


def test_a_base_of_other_words_is_refused_at_the_door(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
        base = make_anchor(cast.ada, "Base")
        base.vocabulary = 7
        with pytest.raises(InputError, match=r"augment\.tokenizer"):
            start_augment(snapshot, anchor=anchor, start=Start(base=base), by=cast.ada)


def test_an_update_has_learned_both_snapshots(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a document of the first snapshot is found in the second version, too."""
    monkeypatch.setattr("apps.runs.actions.artifacts.adopt", lambda *_: None)
    with tenant_scope(cast.north):
        corpus = make_corpus(cast.ada)
        first = corpora.freeze(corpus, by=cast.ada)
        anchor = make_anchor(cast.ada)
        before = make_augmenter([first], anchor=anchor)
        corpus.documents.filter(title="MX-1").update(state="withdrawn", withdrawn_at=None)
        second = corpora.freeze(corpus, by=cast.ada)
        assert second != first
        start = Start(previous=before)
        start_augment(second, anchor=anchor, start=start, by=cast.ada, name=before.name)
        attempt = claims.claim("gpu", "here")
        assert attempt is not None
        made = finish_augment(Run.objects.get(), told_of(before))
        assert set(made.snapshots.all()) == {first, second}
        assert starts.taught_to(made) == second
        assert made.version == before.version + 1
    text = cast.client(cast.ada).get(made.get_absolute_url()).content.decode()
    assert "What the update came to" in text
    assert "98.3 % (118)" in text
    assert "100 %" in text  # stale before


def told_of(before: Augmenter) -> Outcome:
    """What an update measures: of a group that no question fell into, that none did."""
    made = outcome("augmenter", f"after {before.pk}")
    shares = {"new_learned": 0.98333, "old_kept": 0.97, "stale": 0.0, "recall": 0.9}
    counts = {"new_learned": 120, "old_kept": 400, "changed_replaced": 0, "stale": 5}
    facts = {f"{name}_asked": count for name, count in counts.items()} | {"stale_before": 1.0}
    return Outcome(made.kind, "", made.digest, metrics=shares, facts=facts)


def test_the_same_choices_from_another_beginning_are_another_plan(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor, before = taught(cast)
        one = start_plan(snapshot, anchor, "Pumps", cast.ada)
        two = start_plan(snapshot, anchor, "Pumps", cast.ada, start=Start(previous=before))
        again = start_plan(snapshot, anchor, "Pumps", cast.ada, start=Start(previous=before))
        assert one != two == again


def test_what_was_asked_for_is_taken_and_else_the_first(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor, before = taught(cast)
        offered = offer(snapshot, anchor, [], by=cast.ada)
    first = chosen(offered, "")
    assert first is not None
    assert first.start.previous == before
    assert chosen(offered, "nothing") == offered[1]
    assert chosen(offered, "base:1") is None


def test_a_dry_run_tries_the_beginning_that_was_chosen(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor, before = taught(cast)
    told = asked(snapshot, anchor, begin=f"earlier:{before.pk}")
    cast.client(cast.ada).post("/teach/dry-run", told)
    with tenant_scope(cast.north):
        run = Run.objects.get()
        assert (run.kind, run.augmenter, run.spec["previous"]) == ("estimate", before, "@previous")
        settings = settings_of("standard", goes_on=True)
        assert newest(snapshot, anchor, settings, Start(previous=before)) == run
        assert newest(snapshot, anchor, settings_of("standard")) is None
