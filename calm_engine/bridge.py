"""One bridge: an anchor layer reads an augmenter layer.

Knows no models and no training: tensors come in as arguments and go out as results.

    H_b' = H_b + g * s * ( W_O attend(q = W_Q norm(H_b), k = W_K norm(H_a), v = W_V norm(H_a))
                           + W_D norm(H_a) ),   g = 2 o( w . norm(H_b) [+ v . norm(H_a)] + c ),

o of `opening.Opening`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import CacheLayerMixin

from calm_engine.errors import InputError
from calm_engine.opening import Opening
from calm_engine.specs import BridgeSpec

ROTARY_BASE = 10_000.0


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
    """For positions (batch, time) the cosines, and the sines, those of the first half negative.

    Two tensors (batch, 1, time, width): by the sign a rotation needs no halves taken apart.
    """
    steps = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, None, :, None].float() / ROTARY_BASE ** (steps / width)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def _rotate(states: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = angles
    turned = torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, dims=-1), sin)
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
        self.opening = Opening(spec.shut_below)
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
        if self.gate is None:
            added = added * self.scale
        else:
            judged = torch.cat((asked, here), dim=-1) if self.gates_by_both else asked
            added = added * (self.opening(self.gate(judged)) * (2.0 * self.scale))  # 1 at birth
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
        if time > 1:  # many queries are answered fastest when each head has keys of its own
            key, value = (one.repeat_interleave(group, dim=1) for one in (key, value))
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=mask is None and time > 1,
            enable_gqa=time == 1,
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
