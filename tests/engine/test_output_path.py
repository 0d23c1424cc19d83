"""What an augmenter says itself: its gate and the mixture, without models around them."""

from __future__ import annotations

import math

import pytest
import torch

from calm_engine.output_path import OPENING, SLOPE_FLOOR, OutputGate, Voice, mix, spoken_together


def heard(rows: int = 2, tokens: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Last states of both models and how unsure they are, as a gate hears them."""
    source = torch.Generator().manual_seed(1)
    anchor, augmenter, doubts = (
        torch.randn(rows, tokens, width, generator=source) for width in (32, 24, 2)
    )
    return anchor, augmenter, doubts.abs()


def make_gate() -> OutputGate:
    return OutputGate(anchor_width=32, augmenter_width=24, shut_below=0.05)


def test_a_newborn_gate_is_shut_and_can_open() -> None:
    gate = make_gate()
    assert gate.is_shut()
    share = gate(*heard())
    assert torch.equal(share, torch.zeros(2, 6))
    share.sum().backward()
    assert gate.openness.grad is not None
    assert gate.openness.grad > 0


@pytest.mark.parametrize(("openness", "wish"), [(-0.5, 1.0), (0.5, -1.0)])
def test_a_gate_pushed_out_of_range_comes_back_and_goes_no_further(
    openness: float, wish: float
) -> None:
    gate = make_gate()
    with torch.no_grad():
        gate.openness.fill_(openness)
    for wanted in (wish, -wish):
        gate.openness.grad = None
        # A step against the slope raises wanted * g.
        (-wanted * gate(*heard()).sum()).backward()
        assert gate.openness.grad is not None
        step = -float(gate.openness.grad)
        assert step * wish > 0 if wanted == wish else step == 0


def test_a_gate_never_leaves_zero_to_one() -> None:
    gate = make_gate()
    with torch.no_grad():
        gate.openness.fill_(40.0 / OPENING)
        gate.judge.bias.fill_(30.0)
    share = gate(*heard())
    assert share.min() >= 0
    assert share.max() <= 1


def test_in_use_the_anchor_speaks_alone_where_a_gate_is_all_but_shut() -> None:
    gate = make_gate()
    with torch.no_grad():
        gate.openness.fill_(1.0 / OPENING)
        gate.judge.bias.fill_(-4.0)
    assert (gate(*heard()) > 0).all()  # while it learns
    share = gate.train(mode=False)(*heard())
    assert (share == 0).all()
    alone, other = Voice(torch.randn(2, 6, 11)), Voice(torch.randn(2, 6, 11))
    assert torch.equal(spoken_together(alone, [(other, share)]), alone.logits)


def test_a_doubt_is_the_entropy_of_what_is_said() -> None:
    told = Voice(torch.stack([torch.zeros(8), 40.0 * torch.eye(8)[0]])).doubt()
    assert torch.allclose(told, torch.tensor([math.log(8), 0.0]), atol=1e-6)
    some = torch.randn(5, 9)
    wanted = torch.distributions.Categorical(logits=some).entropy()
    assert torch.allclose(Voice(some).doubt(), wanted, atol=1e-5)


def test_a_token_without_any_chance_makes_no_doubt() -> None:
    only = torch.full((8,), -torch.inf)
    only[5] = 2.0
    assert torch.equal(Voice(only).doubt(), torch.zeros(()))


def test_a_newborn_gate_hears_no_doubts_and_can_learn_to() -> None:
    gate = make_gate()
    with torch.no_grad():
        gate.openness.fill_(0.5 / OPENING)
    anchor, augmenter, doubts = heard()
    share = gate(anchor, augmenter, doubts)
    assert torch.equal(share, gate(anchor, augmenter, torch.zeros_like(doubts)))
    share.sum().backward()
    assert gate.from_doubts.weight.grad is not None
    assert gate.from_doubts.weight.grad.abs().min() > 0


def test_the_mixture_is_the_weighted_sum_of_both() -> None:
    torch.manual_seed(2)
    top, below = torch.randn(5, 11), torch.randn(5, 11)
    share = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    wanted = (1 - share[:, None]) * top.softmax(-1) + share[:, None] * below.softmax(-1)
    mixed = mix(Voice(top), Voice(below), share)
    assert torch.allclose(mixed.softmax(-1), wanted, atol=1e-6)
    assert torch.equal(mixed[0], top[0])


def test_the_mixture_has_the_slopes_of_its_formula() -> None:
    torch.manual_seed(3)
    top = torch.randn(4, 7, requires_grad=True)
    below = torch.randn(4, 7)
    share = torch.tensor([0.1, 0.3, 0.6, 0.9], requires_grad=True)
    wanted = torch.randint(7, (4,))
    torch.nn.functional.cross_entropy(mix(Voice(top), Voice(below), share), wanted).backward()
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
    torch.nn.functional.cross_entropy(
        mix(Voice(top), Voice(below), share), torch.tensor([1])
    ).backward()
    assert share.grad is not None
    assert -1 / SLOPE_FLOOR - 2 < float(share.grad) < 0
    assert top.grad is not None
    assert bool(top.grad.isfinite().all())
    far = mix(Voice(top.detach()), Voice(below), torch.tensor([0.5])).log_softmax(-1)
    assert torch.allclose(far.exp(), torch.tensor([[0.5, 0.5]]), atol=1e-5)


def test_several_voices_are_mixed_in_one_after_the_other() -> None:
    torch.manual_seed(4)
    alone, one, other = (Voice(torch.randn(3, 11)) for _ in range(3))
    first, second = torch.tensor([0.0, 0.3, 0.5]), torch.tensor([0.0, 0.2, 1.0])
    told = spoken_together(alone, [(one, first), (other, second)])
    both = (1 - first[:, None]) * alone.logs.exp() + first[:, None] * one.logs.exp()
    wanted = (1 - second[:, None]) * both + second[:, None] * other.logs.exp()
    assert torch.allclose(told.softmax(-1), wanted, atol=1e-6)
    assert torch.equal(told[0], alone.logits[0])
    assert spoken_together(alone, []) is alone.logits
