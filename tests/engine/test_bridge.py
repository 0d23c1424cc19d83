"""One bridge and one gate, without models around them."""

from __future__ import annotations

import pytest
import torch

from calm_engine.bridge import (
    OPENING,
    SLOPE_FLOOR,
    Bridge,
    Heads,
    OutputGate,
    choose_heads,
    mix,
    rotary_angles,
)
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


def test_a_newborn_gate_is_shut_and_can_open() -> None:
    gate = OutputGate(anchor_width=32, augmenter_width=24)
    assert gate.is_shut()
    share = gate(*states())
    assert torch.equal(share, torch.zeros(2, 6))
    share.sum().backward()
    assert gate.openness.grad is not None
    assert gate.openness.grad > 0


@pytest.mark.parametrize(("openness", "wish"), [(-0.5, 1.0), (0.5, -1.0)])
def test_a_gate_pushed_out_of_range_comes_back_and_goes_no_further(
    openness: float, wish: float
) -> None:
    gate = OutputGate(anchor_width=32, augmenter_width=24)
    with torch.no_grad():
        gate.openness.fill_(openness)
    for wanted in (wish, -wish):
        gate.openness.grad = None
        (-wanted * gate(*states()).sum()).backward()  # a step against the slope raises wanted * g
        assert gate.openness.grad is not None
        step = -float(gate.openness.grad)
        assert step * wish > 0 if wanted == wish else step == 0


def test_a_gate_never_leaves_zero_to_one() -> None:
    gate = OutputGate(anchor_width=32, augmenter_width=24)
    with torch.no_grad():
        gate.openness.fill_(40.0 / OPENING)
        gate.judge.bias.fill_(30.0)
    share = gate(*states())
    assert share.min() >= 0
    assert share.max() <= 1


def test_the_mixture_is_the_weighted_sum_of_both() -> None:
    torch.manual_seed(2)
    top, below = torch.randn(5, 11), torch.randn(5, 11)
    share = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    wanted = (1 - share[:, None]) * top.softmax(-1) + share[:, None] * below.softmax(-1)
    mixed = mix(top, below, share)
    assert torch.allclose(mixed.softmax(-1), wanted, atol=1e-6)
    assert torch.equal(mixed[0], top[0])


def test_the_mixture_has_the_slopes_of_its_formula() -> None:
    torch.manual_seed(3)
    top = torch.randn(4, 7, requires_grad=True)
    below = torch.randn(4, 7)
    share = torch.tensor([0.1, 0.3, 0.6, 0.9], requires_grad=True)
    wanted = torch.randint(7, (4,))
    torch.nn.functional.cross_entropy(mix(top, below, share), wanted).backward()
    found = top.grad, share.grad
    top.grad = share.grad = None
    plain = (1 - share[:, None]) * top.softmax(-1) + share[:, None] * below.softmax(-1)
    torch.nn.functional.nll_loss(plain.log(), wanted).backward()
    assert found[0] is not None
    assert found[1] is not None
    assert top.grad is not None
    assert share.grad is not None
    assert torch.allclose(found[0], top.grad, atol=1e-5)
    assert torch.allclose(found[1], share.grad, atol=1e-5)


def test_a_token_the_anchor_gives_no_chance_does_not_explode() -> None:
    """At birth the slope in g is p_a / p_b, here e^180: without a bound training would end."""
    top = torch.tensor([[90.0, -90.0]], requires_grad=True)
    below = torch.tensor([[-90.0, 90.0]])
    share = torch.zeros(1, requires_grad=True)
    torch.nn.functional.cross_entropy(mix(top, below, share), torch.tensor([1])).backward()
    assert share.grad is not None
    assert -1 / SLOPE_FLOOR - 2 < float(share.grad) < 0
    assert top.grad is not None
    assert bool(top.grad.isfinite().all())
    far = mix(top.detach(), below, torch.tensor([0.5])).log_softmax(-1)
    assert torch.allclose(far.exp(), torch.tensor([[0.5, 0.5]]), atol=1e-5)


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
