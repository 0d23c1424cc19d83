"""One forward pass of a composition, part by part: what is frozen first, then what is trained.

    look -> Inputs -> read -> [Read] \
                   -> rise -> Risen   -> join -> last states -> speak -> logits

Knows how both streams run side by side. Knows no files, no training and no `generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from calm_engine.alignment import Alignment
from calm_engine.bridge import Bridge, OutputGate, mix, rotary_angles
from calm_engine.cache import CalmCache
from calm_engine.errors import InputError
from calm_engine.families import Decoder, Pass
from calm_engine.rereading import Plan, Rereading


@dataclass(frozen=True)
class Joint:
    """One connection: which bridge joins which augmenter's layer to which anchor layer."""

    index: int
    augmenter: int
    below: int
    above: int


@dataclass(frozen=True)
class Inputs:
    """One forward pass's tokens, with what is known of each position."""

    ids: Tensor  # (batch, time)
    positions: Tensor  # (batch, time)
    real: Tensor | None  # (batch, seen + time), false on padding; None: all are real
    seen: int  # tokens in the cache
    cache: CalmCache | None


@dataclass(frozen=True)
class Read:
    """What an augmenter made of the tokens: states by layer, and the last ones after its norm."""

    states: dict[int, Tensor]  # (batch, time, augmenter width) each; the plan's tokens, if any
    last: Tensor | None
    plan: Plan | None = None  # where it reads by a tokenizer of its own


@dataclass(frozen=True)
class Risen:
    """The anchor's states where the first bridge joins, and what its further layers want."""

    hidden: Tensor  # (batch, time, anchor width)
    layer: int  # whose output `hidden` is
    run: Pass


def look(
    ids: Tensor,
    mask: Tensor | None,
    positions: Tensor | None,
    cache: CalmCache | None,
    *,
    limit: int,
) -> Inputs:
    """Find out what is real and where it stands; the arguments are those of `forward`.

    limit   tokens, with those in the cache
    Raises InputError: "input.empty", "sequence.too_long", "input.mask", "input.positions".
    """
    batch, time = ids.shape
    seen = 0 if cache is None else cache.get_seq_length()
    if not batch or not time:
        raise InputError("input.empty", "there is no token to read")
    if seen + time > limit:
        raise InputError(
            "sequence.too_long",
            "the sequence has more tokens than the composition has positions",
            tokens=seen + time,
            limit=limit,
        )
    if mask is None and cache is not None and cache.real is not None:
        mask = torch.cat((cache.real, cache.real.new_ones(batch, time)), dim=1)
    if mask is not None and mask.shape != (batch, seen + time):
        raise InputError(
            "input.mask",
            "the attention mask must cover the cache and the new tokens",
            found=tuple(mask.shape),
            wanted=(batch, seen + time),
        )
    # Without a mask families take positions that jump for a second text, packed behind.
    is_plain = positions is None or bool((positions.diff(dim=-1) == 1).all())
    if mask is None and not is_plain:
        raise InputError("input.positions", "positions that jump need an attention mask")
    real = None if mask is None or (is_plain and bool(mask.all())) else mask.bool()
    if positions is None and real is not None:
        positions = (real.long().cumsum(-1) - 1).clamp(min=0)[:, -time:]
    if positions is None:
        positions = torch.arange(seen, seen + time, device=ids.device).expand(batch, -1)
    return Inputs(ids=ids, positions=positions, real=real, seen=seen, cache=cache)


class Streams:
    """An anchor and its augmenters taken apart, with the bridges and gates between them.

    Plain views of modules that the composition owns, made once because looking is slow.
    """

    def __init__(
        self,
        top: Decoder,
        below: Sequence[Decoder],
        joints: Sequence[Joint],
        bridges: nn.ModuleList,
        output_gates: nn.ModuleList,
        alignments: Sequence[Alignment | None],
    ) -> None:
        self.top = top
        self.below = list(below)
        self.joints = list(joints)
        self.bridges = bridges
        self.output_gates = output_gates
        self.alignments = list(alignments)  # for each augmenter; None: it reads the anchor's tokens

    @property
    def first(self) -> int:
        """The lowest anchor layer that a bridge joins; -1 is the embedding output."""
        return min(joint.above for joint in self.joints)

    def bridge(self, joint: Joint) -> Bridge:
        return cast("Bridge", self.bridges[joint.index])

    def joints_at(self, layer: int) -> list[Joint]:
        return [joint for joint in self.joints if joint.above == layer]

    def joints_of(self, augmenter: int) -> list[Joint]:
        return [joint for joint in self.joints if joint.augmenter == augmenter]

    @property
    def limit(self) -> int:
        """The longest sequence in tokens: the shortest of all parents' limits."""
        return min(one.limit for one in (self.top, *self.below))

    @torch.no_grad()
    def read(self, inputs: Inputs) -> list[Read]:
        """Let every augmenter read the tokens, without a graph: nothing in it may move."""
        reads = []
        for index, augmenter in enumerate(self.below):
            wanted = {joint.below for joint in self.joints_of(index)}
            # With an output path all layers run, also while it is shut: the cache stays whole.
            top = augmenter.depth if self.output_gates else max(wanted) + 1
            cache = None if inputs.cache is None else inputs.cache.augmenters[index]
            plan = self._plan(inputs, index)
            if plan is None:
                hidden = augmenter.embed(inputs.ids, inputs.positions)
                run = augmenter.begin(hidden, inputs.real, inputs.positions, cache)
            else:
                hidden = augmenter.embed(plan.ids, plan.places)
                run = augmenter.begin_among(hidden, plan.view, plan.reach, plan.places, cache)
            states = {}
            for layer in range(top):
                hidden = augmenter.layer(layer, hidden, run)
                if layer in wanted:
                    states[layer] = hidden
            last = augmenter.norm(hidden) if top == augmenter.depth else None
            reads.append(Read(states=states, last=last, plan=plan))
        return reads

    def _plan(self, inputs: Inputs, index: int) -> Plan | None:
        """How the augmenter reads by its own tokenizer; None where it has the anchor's."""
        alignment = self.alignments[index]
        if alignment is None:
            return None
        held = None if inputs.cache is None else inputs.cache.rereadings[index]
        rereading = Rereading(alignment) if held is None else held
        limit = self.below[index].limit
        return rereading.plan(inputs.ids, inputs.positions, inputs.real, limit=limit)

    def full(self, cache: CalmCache, *, spare: int) -> set[int]:
        """The rows in which an augmenter can read fewer than `spare` more tokens of its own."""
        pairs = zip(self.below, cache.rereadings, strict=True)
        read = [(one.limit, rereading.lengths) for one, rereading in pairs if rereading]
        return {
            row
            for limit, lengths in read
            for row, length in enumerate(lengths)
            if limit - length < spare
        }

    def settle(self, inputs: Inputs, reads: Sequence[Read]) -> None:
        """End the pass in the cache, when all layers have seen it."""
        if inputs.cache is None:
            return
        inputs.cache.real = all_real(inputs)
        for read, rereading in zip(reads, inputs.cache.rereadings, strict=False):
            if read.plan is not None and rereading is not None:
                rereading.settle(read.plan)

    @torch.no_grad()
    def rise(self, inputs: Inputs, *, crosses: bool) -> Risen:
        """Run the anchor to the first connection, or through where no bridge is to be crossed.

        Nothing that is trained has been met so far, so no graph is kept.
        """
        anchor = self.top
        last = self.first if crosses else anchor.depth - 1
        cache = None if inputs.cache is None else inputs.cache.anchor
        hidden = anchor.embed(inputs.ids, inputs.positions)
        run = anchor.begin(hidden, inputs.real, inputs.positions, cache)
        for layer in range(last + 1):
            hidden = anchor.layer(layer, hidden, run)
        return Risen(hidden, last, run)

    def join(
        self,
        inputs: Inputs,
        risen: Risen,
        reads: Sequence[Read],
        gates: Sequence[float | Tensor],
        *,
        crosses: bool,
    ) -> Tensor:
        """Run the rest of the anchor, bridges joined in; its last states after its norm."""
        anchor, hidden = self.top, risen.hidden
        if not crosses:
            with torch.no_grad():
                states: Tensor = anchor.norm(hidden)
                return states
        with torch.no_grad():
            view = _view(inputs, hidden)
            angles = rotary_angles(inputs.positions, self.bridge(self.joints[0]).heads.width)
        for layer in range(risen.layer, anchor.depth):
            if layer > risen.layer:
                hidden = anchor.layer(layer, hidden, risen.run)
            for joint in self.joints_at(layer):
                cache = None if inputs.cache is None else inputs.cache.joints[joint.index]
                read = reads[joint.augmenter]
                hidden = self.bridge(joint)(
                    hidden,
                    read.states[joint.below],
                    view,
                    angles=angles,
                    cache=cache,
                    gate=gates[joint.augmenter],
                    meeting=None if read.plan is None else read.plan.meeting,
                )
        played: Tensor = anchor.norm(hidden)
        return played

    def speak(
        self,
        hidden: Tensor,
        reads: Sequence[Read],
        gates: Sequence[float | Tensor],
        keep: int | Tensor,
    ) -> Tensor:
        """Logits at the kept positions: the anchor's, each augmenter's mixed in after the other.

        reads   empty: the anchor's alone
        """
        chosen = _kept(hidden, keep)
        logits = self.top.head(chosen)
        modules = cast("list[OutputGate]", list(self.output_gates))
        for read, module, augmenter, gate in zip(reads, modules, self.below, gates, strict=False):
            if read.last is None or (not torch.is_grad_enabled() and module.is_shut()):
                continue
            below = _kept(read.last, keep)
            share = module(chosen, below)
            if isinstance(gate, Tensor):
                share = share * _kept(gate[:, None].expand(hidden.shape[:2]), keep)
            elif gate != 1.0:
                share = share * gate
            logits = mix(logits, augmenter.head(below), share).to(logits.dtype)
        return logits


def all_real(inputs: Inputs) -> Tensor:
    """(batch, seen + time): what the cache remembers of padding."""
    if inputs.real is not None:
        return inputs.real
    batch, time = inputs.ids.shape
    return torch.ones(batch, inputs.seen + time, dtype=torch.bool, device=inputs.ids.device)


def _view(inputs: Inputs, hidden: Tensor) -> Tensor | None:
    """Where a bridge's queries may look, (batch, 1, time, seen + time); None: plainly causal.

    A padded query looks at itself: a row with nothing to see has no softmax.
    """
    time, total = hidden.shape[1], inputs.seen + hidden.shape[1]
    if inputs.real is None and (time == 1 or not inputs.seen):
        return None
    at = torch.arange(total, device=hidden.device)
    asking = at[inputs.seen :, None]
    causal = at <= asking
    if inputs.real is None:
        return causal[None, None]
    return (causal & inputs.real[:, None, None, :]) | (at == asking)


def _kept(states: Tensor, keep: int | Tensor) -> Tensor:
    """Choose positions of (batch, time, ...): see `logits_to_keep`."""
    if isinstance(keep, int):
        return states[:, -keep:] if keep else states
    if keep.dtype == torch.bool:
        return states[keep]
    return states[:, keep]
