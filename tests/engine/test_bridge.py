"""One bridge, without models around it."""

from __future__ import annotations

import pytest
import torch

from calm_engine.bridge import Bridge, Heads, choose_heads, rotary_angles
from calm_engine.config import default_spread, resolve_connections
from calm_engine.errors import InputError
from calm_engine.specs import BridgeSpec


def make_bridge(spec: BridgeSpec | None = None) -> Bridge:
    torch.manual_seed(0)
    chosen = spec or BridgeSpec()
    heads = choose_heads(chosen, anchor_width=32, anchor_heads=4)
    bridge = Bridge(chosen, heads, anchor_width=32, augmenter_width=24)
    for weight in bridge.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return bridge


def states(rows: int = 2, tokens: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    return (
        torch.randn(rows, tokens, 32, generator=source),
        torch.randn(rows, tokens, 24, generator=source),
    )


def test_a_newborn_bridge_returns_the_anchors_states() -> None:
    bridge = Bridge(BridgeSpec(), Heads(2, 1, 16), anchor_width=32, augmenter_width=24)
    anchor, augmenter = states()
    assert torch.equal(bridge(anchor, augmenter, None), anchor)


def test_a_newborn_bridge_can_learn() -> None:
    bridge = Bridge(BridgeSpec(), Heads(2, 1, 16), anchor_width=32, augmenter_width=24)
    anchor, augmenter = states()
    bridge(anchor, augmenter, None).square().sum().backward()
    assert bridge.out.weight.grad is not None
    assert bridge.out.weight.grad.abs().sum() > 0
    assert bridge.aligned is not None
    assert bridge.aligned.weight.grad is not None
    assert bridge.aligned.weight.grad.abs().sum() > 0


def test_in_use_a_bridge_whose_gate_is_all_but_shut_returns_the_anchors_states() -> None:
    bridge = make_bridge()
    assert bridge.gate is not None
    with torch.no_grad():
        bridge.gate.weight.zero_()
        bridge.gate.bias.fill_(-4.0)
    anchor, augmenter = states()
    assert not torch.equal(bridge(anchor, augmenter, None), anchor)  # while it learns
    assert torch.equal(bridge.train(mode=False)(anchor, augmenter, None), anchor)


def test_states_of_another_width_are_refused() -> None:
    anchor, augmenter = states()
    with pytest.raises(InputError, match=r"bridge\.width"):
        make_bridge()(augmenter, augmenter, None)
    with pytest.raises(InputError, match=r"bridge\.width"):
        make_bridge()(anchor, anchor, None)


def test_no_mask_means_causal() -> None:
    bridge = make_bridge()
    anchor, augmenter = states()
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    without, with_mask = bridge(anchor, augmenter, None), bridge(anchor, augmenter, causal)
    assert torch.allclose(without, with_mask, atol=1e-5)


def test_rotary_positions_matter_only_by_their_distance() -> None:
    bridge = make_bridge()
    anchor, augmenter = states(rows=1)
    positions = torch.arange(6)[None]
    here = bridge(anchor, augmenter, None, angles=rotary_angles(positions, 16))
    there = bridge(anchor, augmenter, None, angles=rotary_angles(positions + 50, 16))
    stretched = bridge(anchor, augmenter, None, angles=rotary_angles(positions * 3, 16))
    assert torch.allclose(here, there, atol=1e-4)
    assert not torch.allclose(here, stretched, atol=1e-3)


def test_the_scale_multiplies_what_is_added() -> None:
    bridge = make_bridge()
    anchor, augmenter = states()
    once = bridge(anchor, augmenter, None) - anchor
    bridge.scale.fill_(3.0)
    assert torch.allclose(bridge(anchor, augmenter, None) - anchor, 3 * once, atol=1e-4)


def test_the_papers_form_has_the_papers_parts() -> None:
    bridge = make_bridge(BridgeSpec.paper())
    names = {name for name, _ in bridge.named_parameters()}
    assert names == {"project.weight", "query.weight", "key_value.weight", "out.weight"}
    assert bridge.heads == Heads(4, 4, 8)


def test_heads_are_grouped_and_at_most_512_wide() -> None:
    assert choose_heads(BridgeSpec(), anchor_width=3584, anchor_heads=28) == Heads(8, 2, 64)
    assert choose_heads(BridgeSpec(), anchor_width=576, anchor_heads=9) == Heads(8, 2, 64)
    spec = BridgeSpec(heads=6, kv_heads=3, head_dim=32)
    assert choose_heads(spec, anchor_width=576, anchor_heads=9) == Heads(6, 3, 32)


def test_the_default_spread_is_the_papers() -> None:
    spread = default_spread(24, 28)
    assert [a for a, _ in spread] == [3, 7, 11, 15, 19, 23]
    assert [b for _, b in spread] == [3, 7, 11, 15, 19, 23]
    assert len(default_spread(6, 30)) == 4
    assert default_spread(1, 2) == ((0, 0),)


@pytest.mark.parametrize("pair", [(4, 0), (-1, 0), (0, 6), (0, -2)])
def test_a_connection_to_no_layer_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"bridge\.layer"):
        resolve_connections(BridgeSpec(connections=(pair,)), anchor_depth=6, augmenter_depths=[4])


def test_connections_that_do_not_fit_the_augmenters_are_refused() -> None:
    for given in (((0, 0),), (((0, 0),), ()), ("ab", "cd")):
        with pytest.raises(InputError, match=r"bridge\.connections"):
            resolve_connections(
                BridgeSpec(connections=given), anchor_depth=6, augmenter_depths=[4, 4]
            )
