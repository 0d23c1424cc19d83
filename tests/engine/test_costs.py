"""What a composition weighs: counted, by hand and by the caches."""

from __future__ import annotations

import pytest

from calm_engine import BridgeSpec, CalmForCausalLM
from calm_engine.costs import bridges_width, costs_of
from tests.tiny import make_composition, make_model


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_parameters_are_those_of_the_parts(family: str) -> None:
    model = make_composition(family, "llama")
    counted = costs_of(model).parameters
    for name, parts in (("anchor", [model.anchor]), ("augmenters", [*model.augmenters])):
        assert counted[name] == sum(p.numel() for part in parts for p in part.parameters())
    assert counted["bridges"] == sum(p.numel() for _, p in model.trainable_parameters())


def test_a_token_leaves_keys_and_values_in_every_layer() -> None:
    anchor, augmenter = make_model("llama", seed=1), make_model("llama", seed=2)
    model = CalmForCausalLM.compose(
        anchor, [augmenter], BridgeSpec(heads=2, kv_heads=1, head_dim=8)
    )
    cache = costs_of(model).cache
    config = anchor.config
    width = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    assert cache["anchor"] == 2 * config.num_hidden_layers * width * 4
    bridges = len(model.bridges)
    assert cache["bridges"] == 4 * bridges_width(model) == 2 * bridges * 8 * 4


def test_the_ceiling_falls_with_every_augmenter() -> None:
    anchor = make_model("llama", seed=1)
    below = [make_model("llama", width=32, heads=2, seed=seed) for seed in (2, 3)]
    one = costs_of(CalmForCausalLM.compose(anchor, below[:1]))
    two = costs_of(CalmForCausalLM.compose(anchor, below))
    assert 0.0 < two.ceiling < one.ceiling < 1.0
