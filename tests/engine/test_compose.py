"""Only the bridges and the output gate move, and only they are saved."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from calm_engine.compose import compose, prepared, say
from calm_engine.data import pad_right
from calm_engine.digests import verify, weights_digest
from calm_engine.modeling import CalmForCausalLM
from calm_engine.training import prepare
from tests.engine.learning import drain, make_compose
from tests.tiny import make_composition


def test_only_the_listed_weights_move_and_only_they_are_saved(tmp_path: Path) -> None:
    spec = make_compose(tmp_path)
    parents = [Path(spec.anchor), Path(spec.augmenters[0])]
    before = [weights_digest(parent) for parent in parents]
    _, outcome = drain(compose(spec))
    assert [weights_digest(parent) for parent in parents] == before
    assert list(outcome.parents.values()) == before
    folder = Path(outcome.folder)
    verify(folder)
    saved = {name for path in folder.glob("*.safetensors") for name in load_file(path)}
    assert saved
    assert not {name for name in saved if name.startswith(("anchor", "augmenters"))}


def test_a_trained_composition_speaks_otherwise_and_its_shut_gate_is_the_anchor(
    tmp_path: Path,
) -> None:
    spec = make_compose(tmp_path, steps=10)
    _, outcome = drain(compose(spec))
    model = CalmForCausalLM.from_pretrained(
        outcome.folder, anchor=spec.anchor, augmenters=list(spec.augmenters)
    ).eval()
    ids = torch.arange(10, 30)[None]
    with torch.no_grad():
        bare = model.anchor(ids).logits
        assert torch.equal(model(ids, gate=0.0).logits, bare)
        assert not torch.allclose(model(ids).logits, bare, atol=1e-3)


def test_what_reads_states_for_an_output_gate_moves_slowly_and_all_else_at_the_rate(
    tmp_path: Path,
) -> None:
    spec = make_compose(tmp_path)
    _, made = drain(prepared(spec, prepare(spec)))
    job = made.job
    gate = "output_gates.0"
    assert job.shares == {f"{gate}.from_anchor.weight": 0.3, f"{gate}.from_augmenter.weight": 0.3}
    assert job.shares.keys() < {name for name, _ in job.named}


def test_the_loss_falls(tmp_path: Path) -> None:
    news, outcome = drain(compose(make_compose(tmp_path, steps=40)))
    first = next(p.metrics["loss"] for p in news if p.stage == "train")
    assert outcome.metrics["loss"] < first


def test_the_control_has_a_stranger_inside_and_leaves_the_augmenter_alone(tmp_path: Path) -> None:
    spec = make_compose(tmp_path, control="random")
    before = weights_digest(spec.augmenters[0])
    _, outcome = drain(compose(spec))
    stranger = Path(outcome.folder) / "augmenter_0"
    assert weights_digest(spec.augmenters[0]) == before
    assert outcome.parents["augmenter_0"] == weights_digest(stranger) != before
    CalmForCausalLM.from_pretrained(outcome.folder, anchor=spec.anchor)


def test_a_shared_prefix_changes_no_loss() -> None:
    model = make_composition("llama")
    prefix = [5, 6, 7]
    rows = [([20, 21, 22, 23], 2), ([30, 31, 32, 33, 34, 35], 4)]
    whole = pad_right([([*prefix, *ids], len(prefix) + first) for ids, first in rows], pad=0)
    expected = model(whole.ids, whole.mask, labels=whole.labels).loss
    found = say(model, prefix, pad_right(rows, pad=0))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(say(model, (), whole), expected)
