"""One bridge: an anchor layer reads an augmenter layer. And the gate of the output path.

Knows no models and no training: tensors come in as arguments and go out as results.

    H_b' = H_b + g * s * ( W_O attend(q = W_Q norm(H_b), k = W_K norm(H_a), v = W_V norm(H_a))
                           + W_D norm(H_a) ),   g = 2 sigmoid( w . norm(H_b) [+ v . norm(H_a)] + c )
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import CacheLayerMixin

from calm_engine.errors import InputError
from calm_engine.specs import BridgeSpec

ROTARY_BASE = 10_000.0

# The output gate's scalar is multiplied by this: at a learning rate of 1e-3 it can open fully in
# about sixty steps, where a bare scalar would need a thousand.
OPENING = 16.0

# The slope of the mixture in g is (p_a - p_b) / p, without bound where the anchor gives a token no
# chance. Below this g the slope is taken as it is at this g, so that birth gives no explosion.
SLOPE_FLOOR = 0.02


@dataclass(frozen=True)
class Heads:
    """The attention's shape."""

    count: int
    shared: int  # key/value heads, each read by count / shared query heads
    width: int


def choose_heads(spec: BridgeSpec, *, anchor_width: int, anchor_heads: int) -> Heads:
    """Fill in what the spec leaves open: grouped and at most 512 wide; the paper's form is full."""
    if spec.projection:
        count = spec.heads or anchor_heads
        return Heads(count, spec.kv_heads or count, spec.head_dim or anchor_width // count)
    width = spec.head_dim or (64 if anchor_width >= 256 else 16)
    count = spec.heads or max(1, min(8, anchor_width // width))
    if spec.kv_heads:
        return Heads(count, spec.kv_heads, width)
    shared = next(n for n in (2, 3, 1) if count % n == 0)
    return Heads(count, min(shared, count), width)


def rotary_angles(positions: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines for positions (batch, time): two tensors (batch, 1, time, width)."""
    steps = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, None, :, None].float() / ROTARY_BASE ** (steps / width)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def _rotate(states: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = angles
    left, right = states.chunk(2, dim=-1)
    turned = states * cos + torch.cat((-right, left), dim=-1) * sin
    return turned.to(states.dtype)  # angles are float32, where the bridge may be bfloat16


@dataclass(frozen=True)
class Meeting:
    """How an anchor's positions meet an augmenter's, where the two read other tokens.

    view     (batch, 1, time, held + read) bool: which of the augmenter's tokens a position may see
    births   (batch, read) the anchor's position at which each token came to be: its key's
    newest   (batch, time) which of those read is the newest that a position sees
    present  (batch, time) bool: whether there is one; where there is none nothing is added
    """

    view: Tensor
    births: Tensor
    newest: Tensor
    present: Tensor

    def align(self, states: Tensor) -> Tensor:
        """(batch, read, width) -> (batch, time, width): the newest at each position."""
        return states.gather(1, self.newest[:, :, None].expand(-1, -1, states.shape[-1]))


class Bridge(nn.Module):
    """Let one anchor layer read one augmenter layer; at birth it changes nothing.

    Source: CALM (arXiv 2401.02412), section 3.1: h_b + f_cross(f_proj(h_a), h_b).
    Ours adds norms, positions, an aligned path and a gate, starts at zero and is causal. The paper
    states no mask; without one, a position reads the augmenter's view of the very tokens it must
    predict. The paper's projection f is folded into W_K and W_V unless the spec asks for it.
    """

    scale: Tensor

    def __init__(
        self, spec: BridgeSpec, heads: Heads, *, anchor_width: int, augmenter_width: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.anchor_width = anchor_width
        self.augmenter_width = augmenter_width
        self.has_positions = spec.positions
        read = anchor_width if spec.projection else augmenter_width
        inner, shared = heads.count * heads.width, heads.shared * heads.width
        self.norm_anchor = nn.RMSNorm(anchor_width, eps=1e-6) if spec.norm else nn.Identity()
        self.norm_augmenter = nn.RMSNorm(augmenter_width, eps=1e-6) if spec.norm else nn.Identity()
        self.project = (
            nn.Linear(augmenter_width, anchor_width, bias=False)
            if spec.projection
            else nn.Identity()
        )
        self.query = nn.Linear(anchor_width, inner, bias=False)
        self.key_value = nn.Linear(read, 2 * shared, bias=False)  # fused: both read the same states
        self.out = nn.Linear(inner, anchor_width, bias=False)
        self.aligned = nn.Linear(read, anchor_width, bias=False) if spec.aligned else None
        # Whether the augmenter knows anything here, only its own state can tell.
        self.gates_by_both = spec.gate_reads == "both"
        judged = anchor_width + (read if self.gates_by_both else 0)
        self.gate = nn.Linear(judged, 1) if spec.gate else None
        # The root mean square of the anchor's stream here, measured once (CalmForCausalLM.compose).
        self.register_buffer("scale", torch.ones(()))
        self._zero_at_birth()

    def _zero_at_birth(self) -> None:
        nn.init.zeros_(self.out.weight)
        if self.aligned is not None:
            nn.init.zeros_(self.aligned.weight)
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def forward(
        self,
        anchor: Tensor,
        augmenter: Tensor,
        mask: Tensor | None,
        *,
        angles: tuple[Tensor, Tensor] | None = None,
        cache: CacheLayerMixin | None = None,
        gate: Tensor | float = 1.0,
        meeting: Meeting | None = None,
    ) -> Tensor:
        """Return the anchor states, the augmenter's part added: (batch, time, anchor_width).

        anchor     (batch, time, anchor_width)      output of the paired anchor layer
        augmenter  (batch, time, augmenter_width)   the same positions, or the meeting's tokens read
        mask       (batch, 1, time, seen + time)    true where a query may look; None: causal, and
                                                    nothing is padding
        angles     of `rotary_angles`, or None      used when the spec has positions
        cache      keys and values seen before, or None; the new ones are added to it
        gate       per request, a number or (batch,): 0 is the anchor
        meeting    where the augmenter reads other tokens; then mask is not used
        Raises InputError("bridge.width") when a width is not the one the bridge was built for.
        """
        self._check_widths(anchor, augmenter)
        added = self.part(
            anchor, augmenter, mask, angles=angles, cache=cache, gate=gate, meeting=meeting
        )
        joined: Tensor = anchor + added.to(anchor.dtype)
        return joined

    def part(
        self,
        anchor: Tensor,
        augmenter: Tensor,
        mask: Tensor | None,
        *,
        angles: tuple[Tensor, Tensor] | None = None,
        cache: CacheLayerMixin | None = None,
        gate: Tensor | float = 1.0,
        meeting: Meeting | None = None,
    ) -> Tensor:
        """What `forward` adds, in the bridge's own type: (batch, time, anchor_width)."""
        at_work = self.out.weight.dtype
        asked = self.norm_anchor(anchor.to(at_work))
        read = self.project(self.norm_augmenter(augmenter.to(at_work)))
        here = read if meeting is None else meeting.align(read)
        added = self.out(self._attend(asked, read, mask, angles, cache, meeting))
        if self.aligned is not None:
            added = added + self.aligned(here)
        if self.gate is not None:
            judged = torch.cat((asked, here), dim=-1) if self.gates_by_both else asked
            added = added * (2.0 * torch.sigmoid(self.gate(judged)))  # 1 at birth
        added = added * self.scale
        if meeting is not None:
            added = added * meeting.present[:, :, None]
        if isinstance(gate, Tensor):
            added = added * gate.to(at_work)[:, None, None]
        elif gate != 1.0:
            added = added * gate
        part: Tensor = added
        return part

    def attention(
        self,
        anchor: Tensor,
        augmenter: Tensor,
        mask: Tensor | None,
        *,
        angles: tuple[Tensor, Tensor] | None = None,
        asking: Tensor,
    ) -> Tensor:
        """Where positions look, a mean over the heads: (batch, asking, time), each row's sum is 1.

        asking   (asking,) the positions that are wanted; the rest is as in `forward`, which keeps
                 no such weights: they would cost it time and memory
        """
        asked = self.norm_anchor(anchor.to(self.out.weight.dtype))
        read = self.project(self.norm_augmenter(augmenter.to(self.out.weight.dtype)))
        query, key, _ = self._split(asked, read, angles)
        key = key.repeat_interleave(self.heads.count // self.heads.shared, dim=1)
        scores = query[:, :, asking] @ key.transpose(-1, -2) / self.heads.width**0.5
        at = torch.arange(key.shape[2], device=key.device)
        seen = at <= asking[:, None] if mask is None else mask[:, :, asking]
        shares: Tensor = scores.masked_fill(~seen, -torch.inf).float().softmax(-1).mean(dim=1)
        return shares

    def _check_widths(self, anchor: Tensor, augmenter: Tensor) -> None:
        found = (anchor.shape[-1], augmenter.shape[-1])
        promised = (self.anchor_width, self.augmenter_width)
        if found != promised:
            raise InputError(
                "bridge.width",
                "the states are not as wide as the bridge (anchor, augmenter)",
                found=found,
                promised=promised,
            )

    def _attend(
        self,
        asked: Tensor,
        read: Tensor,
        mask: Tensor | None,
        angles: tuple[Tensor, Tensor] | None,
        cache: CacheLayerMixin | None,
        meeting: Meeting | None,
    ) -> Tensor:
        """Grouped causal cross attention: (batch, time, heads * width)."""
        batch, time, _ = asked.shape
        heads = self.heads
        query, key, value = self._split(asked, read, angles, meeting)
        if cache is not None:
            key, value = cache.update(key, value)
        if meeting is not None:
            mask = meeting.view
        group = heads.count // heads.shared
        attended = functional.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, dim=1),
            value.repeat_interleave(group, dim=1),
            attn_mask=mask,
            is_causal=mask is None and time > 1,
        )
        return attended.transpose(1, 2).reshape(batch, time, heads.count * heads.width)

    def _split(
        self,
        asked: Tensor,
        read: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        meeting: Meeting | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (batch, heads, time, width), and the keys and values of the shared heads."""
        batch, time, _ = asked.shape
        heads = self.heads
        query = self.query(asked).view(batch, time, heads.count, heads.width).transpose(1, 2)
        both = self.key_value(read).view(batch, -1, 2 * heads.shared, heads.width).transpose(1, 2)
        key, value = both.chunk(2, dim=1)
        if self.has_positions and angles is not None:
            born = angles if meeting is None else rotary_angles(meeting.births, heads.width)
            query, key = _rotate(query, angles), _rotate(key, born)
        return query, key, value


# Names of the output gate's matrices that read states.
GATE_READS = ("from_anchor.weight", "from_augmenter.weight")


class OutputGate(nn.Module):
    """How much of the next token the augmenter may say, from both models' last states.

    g = clamp(OPENING * openness, 0, 1) * sigmoid(a small network); `openness` is zero at birth.
    From outside its range the scalar can come back, and it never drifts further out.
    """

    def __init__(self, *, anchor_width: int, augmenter_width: int, inner: int = 64) -> None:
        super().__init__()
        self.from_anchor = nn.Linear(anchor_width, inner, bias=False)
        self.from_augmenter = nn.Linear(augmenter_width, inner)
        self.judge = nn.Linear(inner, 1)
        self.openness = nn.Parameter(torch.zeros(()))

    def is_shut(self) -> bool:
        """Whether the gate gives zero everywhere, so that the branch can be skipped.

        Never while compiling: a graph is made once, and the number may change after.
        """
        if torch.compiler.is_compiling():
            return False
        return float(self.openness.detach()) <= 0.0

    def forward(self, anchor: Tensor, augmenter: Tensor) -> Tensor:
        """g in [0, 1], float32, without the last dimension of the states.

        anchor     (..., anchor_width)      last states after the anchor's final norm
        augmenter  (..., augmenter_width)   the same positions, after the augmenter's final norm
        """
        at_work = self.judge.weight.dtype
        anchor = functional.rms_norm(anchor.to(at_work), anchor.shape[-1:])
        augmenter = functional.rms_norm(augmenter.to(at_work), augmenter.shape[-1:])
        inner = functional.silu(self.from_anchor(anchor) + self.from_augmenter(augmenter))
        opened = _bounded(OPENING * self.openness)
        return (opened * torch.sigmoid(self.judge(inner)).squeeze(-1)).float()


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


def mix(anchor_logits: Tensor, augmenter_logits: Tensor, gate: Tensor) -> Tensor:
    """Logits whose softmax is (1 - g) p_anchor + g p_augmenter; at g = 0 `anchor_logits` unchanged.

    anchor_logits, augmenter_logits   (..., vocabulary)
    gate                              (...) in [0, 1]
    Slopes reach the anchor's logits and g, never the augmenter.
    """
    spoken = torch.log_softmax(augmenter_logits.detach().float(), -1)
    mixed: Tensor = _Mix.apply(anchor_logits.float(), spoken, gate)  # type: ignore[no-untyped-call]  # torch's
    return mixed


class _Mix(torch.autograd.Function):
    """log((1 - g) p_b + g p_a) - log p_b, added to the anchor's logits, with a bounded slope."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, augmenter: Tensor, gate: Tensor) -> Tensor:
        # In place wherever the tensor is ours: at this size fresh memory costs more than the sums.
        share = gate.unsqueeze(-1)
        ratio = torch.log_softmax(logits, -1).neg_().add_(augmenter)
        added = torch.logaddexp(torch.log1p(-share), ratio + torch.log(share))
        ctx.save_for_backward(augmenter, ratio, added, share)
        return logits + added

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, None, Tensor | None]:
        augmenter, ratio, added, share = ctx.saved_tensors
        grad = grads[0]
        to_logits = to_gate = None
        if ctx.needs_input_grad[0]:
            # The augmenter's part of each token's chance; in logs, where 0 times a huge ratio is 0.
            owed = (ratio - added).add_(torch.log(share)).exp_().mul_(grad)
            anchor = (augmenter - ratio).exp_()
            to_logits = anchor.mul_(owed.sum(-1, keepdim=True)).add_(grad).sub_(owed)
        if ctx.needs_input_grad[2]:
            excess = ratio.clamp(max=60.0).expm1_()  # beyond, the slope is 1 / g either way
            bounded = share.clamp(SLOPE_FLOOR, 1.0 - SLOPE_FLOOR)
            to_gate = excess.div_((excess * bounded).add_(1.0)).mul_(grad).sum(-1)
        return to_logits, None, to_gate
