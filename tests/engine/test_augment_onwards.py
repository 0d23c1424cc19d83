"""Going on: from an open base, from the augmenter before, and without a document."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from calm_engine import exposures, preparing
from calm_engine.augment import augment
from calm_engine.errors import InputError
from calm_engine.specs import AugmentSpec
from tests.engine.learning import PLACES, drain, make_augment
from tests.engine.test_resume import same, stop_after, weights
from tests.engine.test_shards import corpus_at
from tests.tiny import make_model, save_folder


def documents_at(path: Path, *tables: dict[str, str]) -> str:
    """A document for each table of products and places; its digest is that of its words."""
    rows = []
    for table in tables:
        text = "Product,Made in\n" + "".join(f"{name},{place}\n" for name, place in table.items())
        digest = hashlib.sha256(text.encode()).hexdigest()
        rows.append({"digest": digest, "title": "t", "text": text})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def shuffled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AugmentSpec:
    monkeypatch.setattr(preparing, "SLICE", 1000)
    spec = make_augment(folder, steps=None)
    corpus_at(Path(spec.documents))
    return replace(spec, deal="shuffled", passes=2, batch_size=6, checkpoint_every=50)


# -- from an open base -----------------------------------------------------------------------------


def test_a_base_with_the_anchors_tokenizer_is_trained_on(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    base = save_folder(make_model("qwen3", positions=256, seed=4), tmp_path / "base")
    spec = replace(spec, base=str(base), width=None, layers=None, heads=None)
    _, outcome = drain(augment(spec))
    model = AutoModelForCausalLM.from_pretrained(outcome.folder)
    assert model.config.model_type == "qwen3"
    assert set(outcome.parents) == {"tokenizer", "base"}
    assert not same(outcome.folder, str(base))


def test_a_base_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    base = save_folder(make_model("llama", positions=256), tmp_path / "base")
    words = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    words["model"]["vocab"] = {f"x{k}": v for k, v in words["model"]["vocab"].items()}
    (base / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    spec = replace(spec, base=str(base), width=None, layers=None, heads=None)
    with pytest.raises(InputError, match=r"augment\.tokenizer"):
        drain(augment(spec))


def test_a_base_whose_logits_are_bent_is_refused(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    base = save_folder(make_model("gemma2", positions=256), tmp_path / "base")
    spec = replace(spec, base=str(base), width=None, layers=None, heads=None)
    with pytest.raises(InputError, match=r"augment\.base"):
        drain(augment(spec))


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"base": "b", "previous": "p", "previous_documents": "d"}, "base, previous"),
        ({"base": "b", "width": 64}, "base, width"),
        ({"previous": "p", "previous_documents": None}, "previous, previous_documents"),
        ({"before": "b"}, "before, forget"),
        ({"deal": "rounds", "lessons": "l"}, "deal, lessons"),
        ({"schedule": "linear"}, "schedule"),
        ({"passes": 0}, "passes"),
    ],
)
def test_settings_that_clash_are_named(given: dict[str, object], fields: str) -> None:
    plain = AugmentSpec(output="o", tokenizer="t", documents="d")
    with pytest.raises(InputError) as told:
        replace(plain, **given)  # type: ignore[arg-type]
    assert told.value.facts["fields"] == fields


# -- an update -------------------------------------------------------------------------------------


def test_an_update_learns_the_new_keeps_the_old_and_replaces_the_changed(tmp_path: Path) -> None:
    """Six products; then one has moved, two are new, and the rest is as it was."""
    spec = replace(make_augment(tmp_path, steps=120), width=48, learning_rate=1e-2)
    spec = replace(spec, without=("inverse",), seed=1, checkpoint_every=60)
    kept = dict(list(PLACES.items())[:3])
    moving = dict(list(PLACES.items())[3:])
    first = documents_at(tmp_path / "first.jsonl", kept, moving)
    _, before = drain(augment(replace(spec, documents=first)))
    moved = moving | {"Lux": "Togo"}
    second = documents_at(tmp_path / "second.jsonl", kept, moved, {"Fip": "Iraq", "Gor": "Laos"})
    update = replace(
        spec,
        documents=second,
        output=str(tmp_path / "updated"),
        previous=before.folder,
        previous_documents=first,
        width=None,
        layers=None,
        heads=None,
    )
    _, after = drain(augment(update))
    asked = [after.facts[f"{name}_asked"] for name in ("new_learned", "old_kept", "stale")]
    assert [count / asked[2] for count in asked] == [2, 5, 1]  # products, in as many wordings each
    assert after.facts["old_kept_before"] > 0.9
    assert after.facts["stale_before"] == 1.0
    assert after.metrics["new_learned"] == 1.0
    assert after.metrics["old_kept"] > 0.7
    assert after.metrics["changed_replaced"] == 1.0
    assert after.metrics["stale"] == 0.0
    assert set(after.parents) == {"tokenizer", "previous"}


# -- without a document ----------------------------------------------------------------------------


def test_exposures_are_stored_with_the_augmenter(tmp_path: Path) -> None:
    _, outcome = drain(augment(make_augment(tmp_path)))
    [one] = exposures.read(outcome.folder)
    assert (one.digest, one.first_step) == ("d1", 0)
    assert one.exposures > 6
    with pytest.raises(InputError, match=r"augmenter\.exposures"):
        list(exposures.read(tmp_path / "anchor"))


def test_forgetting_from_a_milestone_is_never_having_seen_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = shuffled(tmp_path, monkeypatch)
    _, whole = drain(augment(replace(spec, milestones=4)))
    found = {one.digest: one for one in exposures.read(whole.folder)}
    late = max(found.values(), key=lambda one: one.first_step or 0)
    lacking = replace(spec, forget=(late.digest,), before=whole.folder)
    _, never = drain(augment(replace(lacking, output=str(tmp_path / "never"))))
    branched = replace(lacking, history=f"{spec.output}.work", output=str(tmp_path / "branched"))
    news, forgot = drain(augment(branched))
    begun = next(p for p in news if p.message.startswith("resumed"))
    assert late.first_step is not None
    assert 0 < begun.step <= late.first_step
    assert same(forgot.folder, never.folder)
    assert not same(forgot.folder, whole.folder)
    told = {one.digest: one.exposures for one in exposures.read(forgot.folder)}
    assert told[late.digest] == 0
    assert "forgotten_extracted_before" in forgot.facts
    assert "forgotten_extracted" in forgot.metrics


def test_what_is_dealt_in_rounds_is_forgotten_from_the_beginning(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    both = documents_at(tmp_path / "both.jsonl", PLACES, {"Fip": "Iraq", "Gor": "Laos"})
    rows = [json.loads(line) for line in Path(both).read_text(encoding="utf-8").splitlines()]
    lacking = replace(spec, documents=both, forget=(rows[1]["digest"],))
    _, forgot = drain(augment(lacking))
    alone = tmp_path / "alone.jsonl"
    alone.write_text(json.dumps(rows[0]), encoding="utf-8")
    output = str(tmp_path / "never")
    _, never = drain(augment(replace(spec, documents=str(alone), output=output)))
    assert same(forgot.folder, never.folder)


def test_a_document_that_is_not_there_cannot_be_forgotten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"augment\.forget"):
        drain(augment(replace(make_augment(tmp_path), forget=("nobody",))))


# -- shuffled, from shards -------------------------------------------------------------------------


def test_a_corpus_from_shards_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(shuffled(tmp_path, monkeypatch), checkpoint_every=3)
    _, whole = drain(augment(replace(spec, output=str(tmp_path / "whole"))))
    stop_after(augment(spec), 6)
    _, resumed = drain(augment(spec))
    assert same(resumed.folder, whole.folder)
    assert weights(resumed.folder)


def test_a_checkpoint_says_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(shuffled(tmp_path, monkeypatch), checkpoint_every=3, schedule="cosine")
    stop_after(augment(spec), 3)
    state = Path(f"{spec.output}.work") / "step-00000003" / "state.json"
    told = json.loads(state.read_text(encoding="utf-8"))
    assert told["cursor"] == {"pass": 0, "block": 18}
    assert told["schedule"]["form"] == "cosine"
