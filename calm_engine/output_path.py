"""The output path: an augmenter says a share of each next token itself, and a gate decides which.

Knows no models and no training: tensors come in as arguments and go out as results.

    p = (1 - g) p_b + g p_a,   g = OutputGate(h_b, h_a, entropies of p_b and p_a)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calm_engine.opening import Opening

# The gate's scalar is multiplied by this: at a learning rate of 1e-3 it can open fully in about
# sixty steps, where a bare scalar would need a thousand.
OPENING = 16.0

# Likewise for what the gate hears of doubts, which begins at nought: at this factor they have their
# say within a short training, where states are read slowly (docs/decisions/0032).
HEARING = 8.0

# The slope of the mixture in g is (p_a - p_b) / p, without bound where the anchor gives a token no
# chance. Below this g the slope is taken as it is at this g, so that birth gives no explosion.
SLOPE_FLOOR = 0.02

# The log-probability of a token without any chance: nought times no end is no number. A chance in
# float32 comes no nearer to it than the second.
NO_CHANCE, LEAST_CHANCE = -1e4, 1e-38

# Names of the gate's matrices: those that read states, and the one that hears doubts.
GATE_READS = ("from_anchor.weight", "from_augmenter.weight")
GATE_HEARS = "from_doubts.weight"


class Voice:
    """What a model would say next.

    logits   (..., vocabulary)
    chances  their softmax, float32, without slopes
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.chances = torch.softmax(logits.detach().float(), -1)

    @property
    def logs(self) -> Tensor:
        """Log-probabilities, float32, without slopes, none below NO_CHANCE."""
        logs: Tensor = torch.log_softmax(self.logits.detach().float(), -1).clamp_(min=NO_CHANCE)
        return logs

    def doubt(self) -> Tensor:
        """How unsure it is: the entropy in nats, float32, (...)."""
        # Of chances and logits, whose difference from the logs is one number: no log a token.
        logits = self.logits.detach().float()
        below = (logits - logits.amax(-1, keepdim=True)).clamp_(min=NO_CHANCE)
        spread = torch.linalg.vecdot(self.chances, below)
        doubt: Tensor = -torch.log(self.chances.amax(-1)) - spread
        return doubt


class OutputGate(nn.Module):
    """How much of the next token the augmenter may say, from both models' last states and doubts.

    g = clamp(OPENING * openness, 0, 1) * o(a small network); `openness` is zero at birth, and o is
    `Opening` of `shut_below`. From outside its range the scalar can come back, and it never drifts
    further out.
    """

    def __init__(
        self, *, anchor_width: int, augmenter_width: int, shut_below: float, inner: int = 64
    ) -> None:
        super().__init__()
        self.from_anchor = nn.Linear(anchor_width, inner, bias=False)
        self.from_augmenter = nn.Linear(augmenter_width, inner)
        self.from_doubts = nn.Linear(2, inner, bias=False)
        nn.init.zeros_(self.from_doubts.weight)  # as it is read from files that have none yet
        self.judge = nn.Linear(inner, 1)
        self.opening = Opening(shut_below)
        self.openness = nn.Parameter(torch.zeros(()))

    def is_shut(self) -> bool:
        """Whether the gate gives zero everywhere, so that the branch can be skipped.

        Never while compiling: a graph is made once, and the number may change after.
        """
        if torch.compiler.is_compiling():
            return False
        return float(self.openness.detach()) <= 0.0

    def forward(self, anchor: Tensor, augmenter: Tensor, doubts: Tensor) -> Tensor:
        """g in [0, 1], float32, without the last dimension of the states.

        anchor     (..., anchor_width)      last states after the anchor's final norm
        augmenter  (..., augmenter_width)   the same positions, after the augmenter's final norm
        doubts     (..., 2)                 of the anchor alone and of the augmenter (`Voice.doubt`)
        """
        at_work = self.judge.weight.dtype
        anchor = functional.rms_norm(anchor.to(at_work), anchor.shape[-1:])
        augmenter = functional.rms_norm(augmenter.to(at_work), augmenter.shape[-1:])
        inner = self.from_anchor(anchor) + self.from_augmenter(augmenter)
        inner = functional.silu(inner + self.from_doubts(HEARING * doubts.to(at_work)))
        share: Tensor = self.opening(self.judge(inner)).squeeze(-1)
        return (_bounded(OPENING * self.openness) * share).float()


class _Bounded(torch.autograd.Function):
    """clamp(x, 0, 1) whose slope outside leads back only: a plain clamp would hold x there."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(0.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (value,) = ctx.saved_tensors
        grad: Tensor = grads[0]
        # A step goes against the slope: a negative one raises x.
        leads_out = ((value < 0.0) & (grad > 0)) | ((value > 1.0) & (grad < 0))
        return grad.masked_fill(leads_out, 0.0)


def _bounded(value: Tensor) -> Tensor:
    bounded: Tensor = _Bounded.apply(value)  # type: ignore[no-untyped-call]  # torch's
    return bounded


def mix(anchor: Voice, augmenter: Voice, gate: Tensor) -> Tensor:
    """Logits whose softmax is (1 - g) p_anchor + g p_augmenter; at g = 0 the anchor's unchanged.

    gate  (...) in [0, 1]
    Slopes reach the anchor's logits and g, never the augmenter. float32, (..., vocabulary).
    """
    logits = anchor.logits.float()
    if torch.is_grad_enabled():
        mixed: Tensor = _Mix.apply(logits, anchor.logs, augmenter.logs, gate)  # type: ignore[no-untyped-call]  # torch's
        return mixed
    # In place: for a token that is said, fresh memory costs more than the sums.
    share = gate.unsqueeze(-1)
    mixed = torch.lerp(anchor.chances, augmenter.chances, share)
    return torch.where(share > 0, mixed.clamp_(min=LEAST_CHANCE).log_(), logits)


def spoken_together(alone: Voice, others: Iterable[tuple[Voice, Tensor]]) -> Tensor:
    """Logits of the anchor with each other voice mixed in after the other: (..., vocabulary).

    alone   the anchor's own
    others  what else is said, and its g
    """
    logits = alone.logits
    for voice, share in others:
        so_far = alone if logits is alone.logits else Voice(logits)
        logits = mix(so_far, voice, share).to(alone.logits.dtype)
    return logits


class _Mix(torch.autograd.Function):
    """The anchor's logits and what the mixture adds to them, with a bounded slope."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, anchor: Tensor, augmenter: Tensor, gate: Tensor
    ) -> Tensor:
        share = gate.unsqueeze(-1)
        ratio = augmenter - anchor
        # log((1 - g) p_b + g p_a) - log p_b
        added = torch.logaddexp(torch.log1p(-share), ratio + torch.log(share))
        ctx.save_for_backward(anchor, ratio, added, share)
        return logits + added

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None, None, Tensor | None]:
        anchor, ratio, added, share = ctx.saved_tensors
        # In place wherever the tensor is ours: at this size fresh memory costs more than the sums.
        grad = grads[0]
        to_logits = to_gate = None
        if ctx.needs_input_grad[0]:
            # The augmenter's part of each token's chance; in logs, where 0 times a huge ratio is 0.
            owed = (ratio - added).add_(torch.log(share)).exp_().mul_(grad)
            to_logits = anchor.exp().mul_(owed.sum(-1, keepdim=True)).add_(grad).sub_(owed)
        if ctx.needs_input_grad[3]:
            excess = ratio.clamp(max=60.0).expm1_()  # beyond, the slope is 1 / g either way
            bounded = share.clamp(SLOPE_FLOOR, 1.0 - SLOPE_FLOOR)
            to_gate = excess.div_((excess * bounded).add_(1.0)).mul_(grad).sum(-1)
        return to_logits, None, None, to_gate
