"""How far a gate opens, without bridges around it."""

from __future__ import annotations

import torch

from calm_engine.opening import Opening

CHANCES = torch.tensor([0.001, 0.0499, 0.0501, 0.5, 0.999])


def test_in_use_a_gate_below_its_mark_is_shut_and_not_merely_small() -> None:
    told = Opening(0.05).train(mode=False)(torch.logit(CHANCES))
    assert torch.equal(told[:2], torch.zeros(2))
    assert torch.all(told[2:] > 0)
    assert torch.all(told.diff() >= 0)
    assert torch.allclose(told[3:], CHANCES[3:], atol=0.03)


def test_a_gate_that_learns_is_never_quite_shut() -> None:
    judged = torch.logit(CHANCES).requires_grad_()
    told = Opening(0.05)(judged)
    assert torch.equal(told, torch.sigmoid(judged))
    told.sum().backward()
    assert judged.grad is not None
    assert torch.all(judged.grad > 0)


def test_a_gate_without_a_mark_is_a_sigmoid_in_use_too() -> None:
    judged = torch.logit(CHANCES)
    assert torch.equal(Opening(0.0).train(mode=False)(judged), torch.sigmoid(judged))
