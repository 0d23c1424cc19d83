"""Anchors that attend to a window of the last tokens, in texts that are several windows long."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from calm_engine.cache import CalmCache
from calm_engine.modeling import CalmForCausalLM
from tests.tiny import (
    awaken,
    make_model,
    said,
    some_ids,
)

WINDOW, TOKENS = 8, 40
FEW = {"sliding_window": WINDOW}
ALTERNATING = ["sliding_attention", "full_attention"] * 2

# Every family that can have a window, with what its config says for it.
WINDOWED: dict[str, dict[str, object]] = {
    "mistral": FEW,
    "mixtral": FEW,
    "phi3": FEW,
    "gemma2": {},  # the tiny ones have it
    "gemma3_text": {},
    "qwen2": FEW | {"use_sliding_window": True, "layer_types": ALTERNATING},
    "qwen3": FEW | {"use_sliding_window": True, "layer_types": ALTERNATING},
    "smollm3": FEW | {"use_sliding_window": True, "layer_types": ALTERNATING},
}


@pytest.fixture(params=WINDOWED)
def model(request: pytest.FixtureRequest) -> CalmForCausalLM:
    anchor = make_model(request.param, seed=1, **WINDOWED[request.param])
    augmenter = make_model("llama", width=32, heads=2, seed=2)
    return awaken(CalmForCausalLM.compose(anchor, [augmenter]))


def in_steps(model: CalmForCausalLM, ids: Tensor, cache: CalmCache, **how: object) -> Tensor:
    parts = ids.split([13, 1, 1, 6, 1, 17, 1], dim=1)
    return torch.cat([said(model, part, past_key_values=cache, **how) for part in parts], dim=1)


def test_the_window_is_felt(model: CalmForCausalLM) -> None:
    """Else nothing below would be tested."""
    assert "sliding_attention" in model.streams.top.kinds
    ids = some_ids(rows=1, tokens=TOKENS)
    window = model.anchor.config.sliding_window
    model.anchor.config.sliding_window = 1000
    wide = said(model, ids)
    model.anchor.config.sliding_window = window
    narrow = said(model, ids)
    assert torch.allclose(narrow[:, :WINDOW], wide[:, :WINDOW], atol=1e-3)
    assert not torch.allclose(narrow[:, -1], wide[:, -1], atol=1e-2)


@pytest.mark.parametrize("static", [None, 48])
def test_steps_beyond_the_window_equal_the_full_pass(
    static: int | None, model: CalmForCausalLM
) -> None:
    ids = some_ids(tokens=TOKENS)
    steps = in_steps(model, ids, model.new_cache(static=static))
    assert torch.allclose(steps, said(model, ids), atol=1e-3, rtol=1e-3)


def test_steps_beyond_the_window_with_the_gate_shut_are_the_anchors(
    model: CalmForCausalLM,
) -> None:
    ids = some_ids(tokens=TOKENS)
    assert torch.equal(said(model, ids, gate=0.0), said(model.anchor, ids))
    steps = in_steps(model, ids, model.new_cache(), gate=0.0)
    assert torch.allclose(steps, said(model.anchor, ids), atol=1e-3, rtol=1e-3)


def test_padding_beyond_the_window_changes_nothing(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1, tokens=TOKENS)
    padded = torch.cat((torch.zeros(1, 11, dtype=torch.long), ids), dim=1)
    mask = (padded != 0).long()
    cache = model.new_cache()
    first = said(model, padded[:, :30], attention_mask=mask[:, :30], past_key_values=cache)
    steps = torch.cat((first, said(model, padded[:, 30:], past_key_values=cache)), dim=1)
    assert torch.allclose(steps[:, 11:], said(model, ids), atol=1e-3, rtol=1e-3)
