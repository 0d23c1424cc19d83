"""Several augmenters: each has its gate, can be taken out, and can be put beside another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from calm_engine import CalmForCausalLM, detach, side_by_side
from calm_engine.errors import InputError
from calm_engine.specs import BridgeSpec
from tests.tiny import awaken, make_model, some_ids

ANCHOR = {"width": 48, "layers": 5, "heads": 4, "seed": 1}


def augmenter(seed: int, family: str = "llama") -> torch.nn.Module:
    return make_model(family, width=32, layers=4, heads=2, seed=seed)


def one_on(anchor: torch.nn.Module, seed: int, spec: BridgeSpec | None = None) -> CalmForCausalLM:
    return awaken(CalmForCausalLM.compose(anchor, [augmenter(seed)], spec), seed=seed)


@pytest.fixture
def both() -> CalmForCausalLM:
    """An anchor and two augmenters of other families, trained together."""
    anchor = make_model("llama", **ANCHOR)
    pair = [augmenter(2), augmenter(3, "gpt2")]
    return awaken(CalmForCausalLM.compose(anchor, pair))


@torch.no_grad()
def said(model: CalmForCausalLM, **how: object) -> Tensor:
    logits: Tensor = model(some_ids(), **how).logits
    return logits


def test_each_augmenter_has_its_gate(both: CalmForCausalLM) -> None:
    assert torch.equal(said(both, gate=(1.0, 1.0)), said(both))
    assert torch.equal(said(both, gate=(0.0, 0.0)), said(both, gate=0.0))
    first, second = said(both, gate=(1.0, 0.0)), said(both, gate=(0.0, 1.0))
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, said(both))


def test_each_request_may_choose_among_the_augmenters(both: CalmForCausalLM) -> None:
    rows = said(both, gate=torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert torch.allclose(rows[:1], said(both, gate=(1.0, 0.0))[:1], atol=1e-4)
    assert torch.allclose(rows[1:], said(both, gate=(0.0, 1.0))[1:], atol=1e-4)


def test_gates_stay_set(both: CalmForCausalLM) -> None:
    both.set_gate((0.0, 1.0))
    assert torch.equal(said(both), said(both, gate=(0.0, 1.0)))
    with pytest.raises(InputError, match=r"input\.gate"):
        both.set_gate((1.0, 1.0, 1.0))
    assert torch.equal(said(both), said(both, gate=(0.0, 1.0)))


@pytest.mark.parametrize("out", [0, 1])
def test_an_augmenter_that_is_out_is_one_whose_gate_is_shut(
    both: CalmForCausalLM, out: int
) -> None:
    gate = tuple(float(index != out) for index in range(2))
    assert torch.equal(said(detach(both, out)), said(both, gate=gate))


def test_the_last_augmenter_stays(both: CalmForCausalLM) -> None:
    for model, index in ((both, 2), (detach(both, 0), 0)):
        with pytest.raises(InputError, match=r"compose\.augmenters"):
            detach(model, index)


def test_two_that_were_trained_apart_stand_side_by_side() -> None:
    anchor = make_model("llama", **ANCHOR)
    first, second = one_on(anchor, 2), one_on(anchor, 3)
    joined = side_by_side([first, second])
    assert torch.equal(said(joined, gate=(1.0, 0.0)), said(first))
    assert torch.equal(said(joined, gate=(0.0, 1.0)), said(second))
    assert joined.bridges[0] is first.bridges[0]


def test_what_was_joined_can_be_kept(tmp_path: Path) -> None:
    anchor = make_model("llama", **ANCHOR)
    parts = [one_on(anchor, 2), one_on(anchor, 3)]
    joined = side_by_side(parts)
    joined.save_pretrained(tmp_path)
    augmenters = [part.augmenters[0] for part in parts]
    loaded = CalmForCausalLM.from_pretrained(tmp_path, anchor=anchor, augmenters=augmenters)
    assert torch.equal(said(loaded), said(joined))


def test_only_what_fits_stands_side_by_side() -> None:
    anchor, other = (make_model("llama", **ANCHOR | {"seed": seed}) for seed in (1, 9))
    with pytest.raises(InputError, match=r"parent\.digest"):
        side_by_side([one_on(anchor, 2), one_on(other, 3)])
    with pytest.raises(InputError, match=r"compose\.bridge"):
        side_by_side([one_on(anchor, 2), one_on(anchor, 3, BridgeSpec(positions=False))])
    with pytest.raises(InputError, match=r"compose\.augmenters"):
        side_by_side([])
