"""One forward pass of a composition, part by part: what is frozen first, then what is trained.

    look -> Inputs -> read -> [Read]
                   -> rise -> Risen  -> join    -> last states -> speak -> logits
                                     -> pass_by -> last states (no bridge crossed)

Knows how both streams run side by side. Knows no files, no training and no `generate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from calm_engine.alignment import Alignment
from calm_engine.bridge import Bridge, rotary_angles
from calm_engine.cache import CalmCache
from calm_engine.config import CalmConfig
from calm_engine.families import Decoder, Pass
from calm_engine.inputs import Inputs, all_real, kept, view_of
from calm_engine.output_path import OutputGate, Voice, spoken_together
from calm_engine.rereading import Plan, Rereading
from calm_engine.static_cache import StaticCalmCache


@dataclass(frozen=True)
class Joint:
    """One connection: which bridge joins which augmenter's layer to which anchor layer."""

    index: int
    augmenter: int
    below: int
    above: int


def joints_of(config: CalmConfig) -> list[Joint]:
    """The connections in the order of the bridges."""
    pairs = [(i, below, above) for i, each in enumerate(config.joined) for below, above in each]
    return [Joint(index, *pair) for index, pair in enumerate(pairs)]


@dataclass(frozen=True)
class Read:
    """What an augmenter made of the tokens: states by layer, and the last ones after its norm."""

    states: dict[int, Tensor]  # (batch, time, augmenter width) each; the plan's tokens, if any
    last: Tensor | None
    logits: Tensor | None = None  # (batch, time, vocabulary), where its head has spoken already
    plan: Plan | None = None  # where it reads by a tokenizer of its own


@dataclass(frozen=True)
class Crossing:
    """What one bridge was given and what came of it, for whoever wants to look at it later."""

    joint: Joint
    before: Tensor  # (batch, time, anchor width)
    after: Tensor  # the same, the bridge's part added
    read: Tensor  # (batch, time, augmenter width)
    view: Tensor | None  # where it may look: see `Bridge.forward`
    angles: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Risen:
    """The anchor's states where the first bridge joins, and what its further layers want."""

    hidden: Tensor  # (batch, time, anchor width)
    run: Pass


@dataclass(frozen=True)
class Frozen:
    """What a pass makes of its tokens before anything trained is met: kept, it can be given again.

    reads   of each augmenter
    hidden  (batch, time, anchor width), where the first bridge joins
    last    (batch, time, anchor width), after the anchor's norm, no bridge crossed
    """

    reads: tuple[Read, ...]
    hidden: Tensor
    last: Tensor


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

    def layers_read(self, augmenter: int) -> set[int]:
        """The layers of an augmenter that a bridge reads."""
        return {joint.below for joint in self.joints_of(augmenter)}

    @property
    def limit(self) -> int:
        """The longest sequence in tokens: the shortest of all parents' limits."""
        return min(one.limit for one in (self.top, *self.below))

    def read(self, inputs: Inputs) -> list[Read]:
        """Let every augmenter read the tokens, without a graph: nothing in it may move."""
        return [self.read_one(index, inputs) for index in range(len(self.below))]

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
        if isinstance(inputs.cache, StaticCalmCache):
            inputs.cache.grow(inputs.ids.shape[1])
            return
        inputs.cache.real = all_real(inputs)
        for read, rereading in zip(reads, inputs.cache.rereadings, strict=False):
            if read.plan is not None and rereading is not None:
                rereading.settle(read.plan)

    @torch.no_grad()
    def read_one(self, index: int, inputs: Inputs, *, is_whole: bool = False) -> Read:
        """Let one augmenter read the tokens.

        is_whole   run all of its layers, also where no part of the composition asks for the last
        """
        augmenter = self.below[index]
        wanted = self.layers_read(index)
        # With an output path all layers run, also while it is shut: the cache stays whole.
        top = augmenter.depth if is_whole or self.output_gates else max(wanted) + 1
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
        return Read(states=states, last=last, plan=plan)

    def freeze(self, inputs: Inputs) -> Frozen:
        """Everything of these tokens that no training changes."""
        reads = tuple(self.read(inputs))
        risen = self.rise(inputs)
        return Frozen(reads, risen.hidden, self.pass_by(risen))

    def play(
        self,
        inputs: Inputs,
        reads: Sequence[Read],
        gates: Sequence[float | Tensor],
        frozen: Frozen | None,
        *,
        crosses: bool,
        heard: list[Tensor] | None = None,
    ) -> Tensor:
        """The anchor's last states after its norm, (batch, time, anchor width).

        crosses   whether the bridges are joined in
        frozen    what `freeze` made of these tokens, to go on from; None: everything is run
        heard     gets what each layer is given, unless it is None; what is frozen is not told
        """
        if crosses:
            risen = self.rise(inputs, frozen, heard=heard)
            return self.join(inputs, risen, reads, gates, heard=heard)
        if frozen is not None:
            return frozen.last
        return self.pass_by(self.rise(inputs, heard=heard), heard=heard)

    @torch.no_grad()
    def rise(
        self, inputs: Inputs, frozen: Frozen | None = None, *, heard: list[Tensor] | None = None
    ) -> Risen:
        """Run the anchor to the first connection, or go on from what was frozen there.

        Nothing that is trained has been met so far, so no graph is kept.
        heard   gets what each layer is given, unless it is None
        """
        anchor = self.top
        cache = None if inputs.cache is None else inputs.cache.anchor
        if frozen is not None:
            run = anchor.begin(frozen.hidden, inputs.real, inputs.positions, cache)
            return Risen(frozen.hidden, run)
        hidden = anchor.embed(inputs.ids, inputs.positions)
        run = anchor.begin(hidden, inputs.real, inputs.positions, cache)
        for layer in range(self.first + 1):
            if heard is not None:
                heard.append(hidden)
            hidden = anchor.layer(layer, hidden, run)
        return Risen(hidden, run)

    @torch.no_grad()
    def pass_by(self, risen: Risen, *, heard: list[Tensor] | None = None) -> Tensor:
        """Run the rest of the anchor alone; its last states after its norm.

        heard   gets what each layer is given, unless it is None
        """
        hidden = risen.hidden
        for layer in range(self.first + 1, self.top.depth):
            if heard is not None:
                heard.append(hidden)
            hidden = self.top.layer(layer, hidden, risen.run)
        last: Tensor = self.top.norm(hidden)
        return last

    def join(
        self,
        inputs: Inputs,
        risen: Risen,
        reads: Sequence[Read],
        gates: Sequence[float | Tensor],
        *,
        crossings: list[Crossing] | None = None,
        heard: list[Tensor] | None = None,
    ) -> Tensor:
        """Run the rest of the anchor, bridges joined in; its last states after its norm.

        crossings   None: what passes over the bridges is forgotten; a list: it is added there
        heard       gets what each layer is given, unless it is None
        """
        anchor, hidden = self.top, risen.hidden
        with torch.no_grad():
            view = view_of(inputs, hidden)
            angles = rotary_angles(inputs.positions, self.bridge(self.joints[0]).heads.width)
        for layer in range(self.first, anchor.depth):
            if layer > self.first:
                if heard is not None:
                    heard.append(hidden)
                hidden = self._climb(inputs, layer, hidden, risen.run)
            for joint in self.joints_at(layer):
                cache = None if inputs.cache is None else inputs.cache.joints[joint.index]
                before, read = hidden, reads[joint.augmenter]
                states = read.states[joint.below]
                hidden = self.bridge(joint)(
                    before,
                    states,
                    view,
                    angles=angles,
                    cache=cache,
                    gate=gates[joint.augmenter],
                    meeting=None if read.plan is None else read.plan.meeting,
                )
                if crossings is not None:
                    crossings.append(Crossing(joint, before, hidden, states, view, angles))
        last: Tensor = anchor.norm(hidden)
        return last

    def _climb(self, inputs: Inputs, layer: int, hidden: Tensor, run: Pass) -> Tensor:
        """One layer of the anchor; where it is marked, training does not keep its activations.

        transformers' own layers do so in training mode only, in which a frozen parent never is.
        """
        module: Any = self.top.layers[layer]
        is_marked = getattr(module, "gradient_checkpointing", False) and self.bridges.training
        if not (is_marked and torch.is_grad_enabled()):
            return self.top.layer(layer, hidden, run)

        def again(states: Tensor) -> Tensor:
            if inputs.cache is not None:
                assert isinstance(inputs.seen, int)  # nobody trains with a static cache
                # The second time the cache holds what the first one added.
                inputs.cache.rewind(layer, inputs.seen)
            return self.top.layer(layer, states, run)

        out: Tensor = module._gradient_checkpointing_func(again, hidden)
        return out

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
        chosen = kept(hidden, keep)
        logits = self.top.head(chosen)
        if not reads:
            return logits
        alone = Voice(logits)
        voices = self.voices(chosen, alone, reads, gates, keep)
        return spoken_together(alone, ((voice, share) for _, voice, share in voices))

    def _voice(self, index: int, read: Read, keep: int | Tensor) -> Voice:
        """What an augmenter itself would say at the kept positions."""
        if read.logits is not None:
            return Voice(kept(read.logits, keep))
        assert read.last is not None  # or it would have no share
        return Voice(self.below[index].head(kept(read.last, keep), to_the_bit=False))

    def voices(
        self,
        chosen: Tensor,
        alone: Voice,
        reads: Sequence[Read],
        gates: Sequence[float | Tensor],
        keep: int | Tensor,
    ) -> Iterator[tuple[int, Voice, Tensor]]:
        """Who else speaks at the kept positions: which augmenter, what it would say there, and its
        g of the output path, the request's gate in it.

        chosen   the anchor's last states there
        alone    what it would say by itself
        An augmenter that is not mixed in is left out: it was not read to its end, or the path is
        shut and no slope is asked for.
        """
        modules = cast("list[OutputGate]", list(self.output_gates))
        for index, (read, module, gate) in enumerate(zip(reads, modules, gates, strict=False)):
            if read.last is None or (not torch.is_grad_enabled() and module.is_shut()):
                continue
            voice = self._voice(index, read, keep)
            doubts = torch.stack([alone.doubt(), voice.doubt()], dim=-1)
            share: Tensor = module(chosen, kept(read.last, keep), doubts)
            if isinstance(gate, Tensor):
                share = share * kept(gate[:, None].expand(read.last.shape[:2]), keep)
            elif gate != 1.0:
                share = share * gate
            yield index, voice, share
