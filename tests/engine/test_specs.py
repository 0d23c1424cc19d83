"""The nouns: through JSON without loss, and refused with the names of the fields that clash."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calm_engine.errors import InputError
from calm_engine.specs import (
    LATER,
    AugmentSpec,
    BridgeSpec,
    ComposeSpec,
    Estimate,
    EvaluateSpec,
    Outcome,
    Progress,
    Spec,
    TrainSpec,
)

BRIDGE = BridgeSpec(connections=((2, 9), (5, 19)), heads=6, kv_heads=2)
SPECS: list[Spec] = [
    BRIDGE,
    BridgeSpec.paper(connections=[(0, -1)]),
    BridgeSpec(connections=(((0, 1),), ((0, 2), (1, 3)))),
    AugmentSpec(output="out", tokenizer="anchor", documents="docs.jsonl", width=64, heads=4),
    ComposeSpec(output="out", anchor="a", augmenters=("b", "c"), examples="e.jsonl", bridge=BRIDGE),
    EvaluateSpec(output="out", composition="c", anchor="a", augmenters=("b",), questions="q.jsonl"),
    Progress(stage="train", step=3, total=9, metrics={"loss": 1.5}, samples=({"q": "a"},)),
    Outcome(kind="augmenter", folder="f", digest="d", parents={"anchor": "x"}, facts={"n": 3}),
    Estimate(seconds=1.5, memory_bytes=10, disk_bytes=20, steps=30),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_a_spec_goes_through_json_without_loss(spec: Spec) -> None:
    again = type(spec).from_json(spec.to_json())
    assert again == spec
    assert json.loads(again.to_json()) == json.loads(spec.to_json())


def test_a_spec_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(BRIDGE.to_json(), encoding="utf-8")
    assert BridgeSpec.from_file(path) == BRIDGE
    with pytest.raises(InputError, match=r"spec\.file"):
        BridgeSpec.from_file(tmp_path / "missing.json")


@pytest.mark.parametrize("text", ["", "[1]", "{'a': 1}", "null"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"spec\.json"):
        BridgeSpec.from_json(text)


def test_unknown_fields_are_named() -> None:
    with pytest.raises(InputError, match=r"spec\.unknown.*hats") as caught:
        BridgeSpec.from_dict({"heads": 2, "hats": 3})
    assert caught.value.facts["fields"] == "hats"


def test_missing_fields_are_refused() -> None:
    with pytest.raises(InputError, match=r"spec\.missing"):
        AugmentSpec.from_dict({})


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (BridgeSpec, {"dropout": 1.0}, "dropout"),
        (BridgeSpec, {"shut_below": 1.0}, "shut_below"),
        (BridgeSpec, {"shut_below": -0.1}, "shut_below"),
        (BridgeSpec, {"heads": 5, "kv_heads": 2}, "heads, kv_heads"),
        (AugmentSpec, {"output": ""}, "output"),
        (AugmentSpec, {"output": "o", "tokenizer": "t"}, "documents"),
        (
            AugmentSpec,
            {"output": "o", "tokenizer": "t", "documents": "d", "width": 10, "heads": 4},
            "width, heads",
        ),
        (AugmentSpec, {"output": "o", "tokenizer": "t", "documents": "d", "block": 4}, "block"),
        (AugmentSpec, {"output": "o", "batch_size": 0}, "batch_size"),
        (AugmentSpec, {"output": "o", "steps": 0}, "steps"),
        (AugmentSpec, {"output": "o", "device": "tpu"}, "device"),
        (ComposeSpec, {"output": "o"}, "anchor"),
        (ComposeSpec, {"output": "o", "anchor": "a"}, "augmenters"),
        (ComposeSpec, {"output": "o", "anchor": "a", "augmenters": ["b"]}, "examples"),
        (
            ComposeSpec,
            {"output": "o", "anchor": "a", "augmenters": ["b"], "examples": "e", "control": "x"},
            "control",
        ),
        (
            EvaluateSpec,
            {"output": "o", "composition": "", "anchor": "a", "augmenters": [], "questions": "q"},
            "composition",
        ),
        (
            EvaluateSpec,
            {
                "output": "o",
                "composition": "c",
                "anchor": "a",
                "augmenters": ["b"],
                "questions": "q",
                "batch_size": 0,
            },
            "batch_size",
        ),
    ],
)
def test_bad_values_are_refused_by_name(
    kind: type[Spec], values: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError) as caught:
        kind.from_dict(values)
    assert caught.value.facts["fields"] == named


def test_bridge_dropout_needs_an_output_path() -> None:
    assert BridgeSpec(output_path=False).dropout == 0.0
    assert BridgeSpec().dropout == 0.5


# What this release writes into its checkpoints, and the next one must know again.
FORMER: dict[Spec, str] = {
    AugmentSpec(
        output="o", tokenizer="t", documents="d"
    ): "0e95ecc11a25cf06cedf193115b961717e9fe1ebcc204fb07733128ce7a8d922",
    ComposeSpec(
        output="o", anchor="a", augmenters=("b",), examples="e"
    ): "e6cea54d1bd6026980315c2d535c2e8c9b2da9e75266d8fffe7ddb1188ba81cd",
}


@pytest.mark.parametrize("spec", FORMER, ids=lambda spec: type(spec).__name__)
def test_a_training_of_the_former_release_is_known_again(spec: TrainSpec) -> None:
    """Else its checkpoints are passed over: a field that came since belongs in `specs.LATER`."""
    assert spec.digest_of_work() == FORMER[spec]


def test_a_training_that_was_taught_otherwise_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = AugmentSpec(output="o", tokenizer="t", documents="d")
    now = spec.digest_of_work()
    monkeypatch.setattr(AugmentSpec, "COURSE", AugmentSpec.COURSE + 1)
    assert spec.digest_of_work() != now


def test_a_field_that_came_later_changes_the_work_only_where_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = ComposeSpec(output="o", anchor="a", augmenters=("b",), examples="e")
    known = spec.to_dict()
    del known["bridge"]["gate_reads"]
    monkeypatch.setattr(ComposeSpec, "to_dict", lambda _: known)
    before = spec.digest_of_work()
    monkeypatch.undo()
    assert spec.digest_of_work() != before
    monkeypatch.setitem(LATER, "gate_reads", "anchor")
    assert spec.digest_of_work() == before
    assert replace(spec, bridge=BridgeSpec(gate_reads="both")).digest_of_work() != before
