"""The composition: a frozen anchor and frozen augmenters, played together over trained bridges.

The transformers class: birth, what may move, what a call means. How the streams run stands in
`streams`, how a composition is saved and loaded in `keeping`. Knows nothing of training or serving.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GenerationMixin,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from calm_engine.alignment import Alignment
from calm_engine.bridge import Bridge, choose_heads
from calm_engine.cache import CalmCache
from calm_engine.citizenship import (
    check_inputs,
    chosen_states,
    parents_of,
)
from calm_engine.config import CalmConfig
from calm_engine.errors import InputError
from calm_engine.families import decoder_of
from calm_engine.inputs import check_tokens, look, look_static
from calm_engine.keeping import Kept
from calm_engine.output_path import OutputGate
from calm_engine.parents import (
    Parent,
    alignments_of,
    check_bits,
    check_together,
    checked,
    config_of,
    digest_of,
)
from calm_engine.specs import BridgeSpec
from calm_engine.static_cache import StaticCalmCache
from calm_engine.streams import Frozen, Read, Streams, joints_of

Gate = float | Sequence[float] | Tensor  # see `CalmForCausalLM.forward`

# Random tokens (sequences, tokens) on which the anchor's stream is measured at birth.
_MEASURED = (4, 64)


class CalmForCausalLM(Kept, GenerationMixin):  # type: ignore[no-untyped-call]  # transformers' class hook
    """Anchor and augmenters read every token; bridges carry states, the output path carries words.

    Source: CALM (arXiv 2401.02412), section 3. We differ: bridges are causal and zero at birth, and
    after the last layers p = (1 - g) p_anchor + g p_augmenter, with g from a small gate that is
    zero at birth. Nothing of the parents moves; `trainable_parameters` lists what may.
    """

    config: CalmConfig
    config_class = CalmConfig
    base_model_prefix = "anchor"
    main_input_name = "input_ids"
    _supports_sdpa = True
    _skip_keys_device_placement = ["past_key_values"]

    def __init__(
        self,
        config: CalmConfig,
        anchor: PreTrainedModel | None = None,
        augmenters: Sequence[PreTrainedModel] = (),
        alignments: Sequence[Alignment | None] = (),
    ) -> None:
        """Join the parents by bridges that are zero; without an anchor all are made at random.

        alignments   for each augmenter; None: it has the anchor's tokenizer. Empty: all do
        """
        if anchor is None:
            config = copy.deepcopy(config)
            config.parents = None  # those that it tells of are others
            anchor, augmenters = parents_of(config, config._attn_implementation)
            check_together(config, [anchor, *augmenters], [None] * len(augmenters))
        super().__init__(config)
        spec = config.spec
        self.anchor = anchor
        self.augmenters = nn.ModuleList(augmenters)
        joints = joints_of(config)
        heads = choose_heads(
            spec,
            anchor_width=anchor.config.hidden_size,
            anchor_heads=anchor.config.num_attention_heads,
        )
        self.bridges = nn.ModuleList(
            Bridge(
                spec,
                heads,
                anchor_width=anchor.config.hidden_size,
                augmenter_width=augmenters[joint.augmenter].config.hidden_size,
            )
            for joint in joints
        )
        self.output_gates = nn.ModuleList(
            OutputGate(
                anchor_width=anchor.config.hidden_size,
                augmenter_width=augmenter.config.hidden_size,
                shut_below=spec.shut_below,
            )
            for augmenter in (augmenters if spec.output_path else ())
        )
        self.streams = Streams(
            decoder_of(anchor),
            [decoder_of(augmenter) for augmenter in augmenters],
            joints,
            self.bridges,
            self.output_gates,
            alignments or [None] * len(augmenters),
        )
        self.gate: Gate = 1.0
        self.bridges_on = True
        self.output_on = True
        self._freeze()
        self.post_init()  # type: ignore[no-untyped-call]  # transformers'

    # -- birth -------------------------------------------------------------------------------------

    @classmethod
    def compose(
        cls,
        anchor: Parent,
        augmenters: Sequence[Parent],
        bridge: BridgeSpec | None = None,
        *,
        sample_ids: Tensor | None = None,
        dtype: torch.dtype | None = None,
        tokenizers: Sequence[PreTrainedTokenizerBase] | None = None,
    ) -> CalmForCausalLM:
        """Join an anchor and augmenters by newborn bridges: the result is the anchor, bit for bit.

        anchor, augmenters   folders (checked, safetensors only) or transformers models
        sample_ids           (batch, time) tokens on which the anchor's stream is measured; None:
                             random ones
        dtype                of parents that are loaded from folders; None: as stored
        tokenizers           the anchor's, then each augmenter's; None: those in the folders. Where
                             they differ the two meet at byte ends, and the output path is off
        Raises InputError: "compose.vocabulary" when tokenizers differ and are not known,
        "compose.tokenizer" for one that does not spell bytes, "bridge.layer" and
        "bridge.connections" for connections that do not fit, "model.family" for an unknown family,
        and what loading a folder raises.
        """
        if not augmenters:
            raise InputError("compose.augmenters", "a composition needs at least one augmenter")
        spec = bridge or BridgeSpec()
        check_bits(augmenters)
        played = checked(anchor, dtype)
        joined = [checked(augmenter, dtype) for augmenter in augmenters]
        alignments = alignments_of([played, *joined], [anchor, *augmenters], tokenizers)
        own = [index for index, one in enumerate(alignments) if one is not None]
        if own:  # the output path mixes words, and these have no words in common
            spec = replace(spec, output_path=False)
        parents = {"anchor": digest_of(anchor)}
        parents |= {f"augmenter_{i}": digest_of(one) for i, one in enumerate(augmenters)}
        config = config_of(played, joined, spec, parents, own_tokenizers=own)
        model = cls(config, played, joined, alignments)
        model.generation_config = copy.deepcopy(played.generation_config)
        if spec.scaled:
            model.measure(sample_ids)
        return model.train(mode=False)

    @torch.no_grad()
    def measure(self, sample_ids: Tensor | None = None) -> None:
        """Set each bridge's scale to the RMS of the anchor's stream where it joins.

        The median over positions: a few positions of a trained model carry huge states.
        """
        anchor = self.streams.top
        if sample_ids is None:
            source = torch.Generator().manual_seed(0)
            shape = (_MEASURED[0], min(_MEASURED[1], self.streams.limit))
            sample_ids = torch.randint(anchor.vocabulary, shape, generator=source)
        check_tokens(sample_ids, vocabulary=anchor.vocabulary)
        inputs = look(sample_ids.to(self.device), None, None, None, limit=self.streams.limit)
        hidden = anchor.embed(inputs.ids, inputs.positions)
        run = anchor.begin(hidden, None, inputs.positions, None)
        for layer in range(-1, max(joint.above for joint in self.streams.joints) + 1):
            hidden = hidden if layer < 0 else anchor.layer(layer, hidden, run)
            for joint in self.streams.joints_at(layer):
                power = hidden.float().pow(2).mean(-1).sqrt().median()
                self.streams.bridge(joint).scale.copy_(power)

    # -- what may move -----------------------------------------------------------------------------

    def _freeze(self) -> None:
        for parent in (self.anchor, *self.augmenters):
            parent.requires_grad_(False)
            parent.eval()

    def train(self, mode: bool = True) -> Self:
        """Parents stay in evaluation mode: their dropout would change what the anchor says."""
        super().train(mode)
        for parent in (self.anchor, *self.augmenters):
            parent.eval()
        return self

    def init_weights(self) -> None:
        """Nothing to do: parents come with weights, and bridges make their own at birth."""

    def get_input_embeddings(self) -> nn.Module:
        return self.anchor.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        head: nn.Module = self.streams.top.model.lm_head
        return head

    # -- switches ----------------------------------------------------------------------------------

    def set_gate(self, gate: float | Sequence[float]) -> None:
        """How far the augmenters are let in when a call does not say: 0 is the anchor, 1 is all.

        gate   one number for all augmenters, or one for each
        Raises InputError("input.gate") for another count than that of the augmenters.
        """
        self.gates_for(gate, rows=1)
        self.gate = gate

    def set_parts(self, *, bridges: bool = True, output: bool = True) -> None:
        """Switch the bridges or the output path off, for attribution and for bridge dropout."""
        self.bridges_on = bridges
        self.output_on = output

    # -- running -----------------------------------------------------------------------------------

    @can_return_tuple  # type: ignore[untyped-decorator]  # transformers'
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: CalmCache | None = None,
        use_cache: bool | None = None,
        gate: Gate | None = None,
        position_ids: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        output_hidden_states: bool | list[int] | None = None,
        frozen: Frozen | None = None,
        reads: Sequence[Read] | None = None,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """Run anchor and augmenters over the tokens.

        input_ids        (batch, time)
        attention_mask   (batch, seen + time), 0 on padding; None: what the cache knows, then ones
        labels           (batch, time), -100 where nothing is to be said; shifted here. Logits are
                         made at the target positions only and come as (targets, vocabulary)
        gate             None: `set_gate`'s; a number; one for each augmenter; (batch,), one for
                         each request; or (batch, augmenters). Where all numbers are 0 augmenters do
                         not run at all, so a cache begun so stays so
        position_ids     (batch, time); None: counted over the mask, so padding takes no position
        logits_to_keep   0: all. n: the last n. (n,) long: these positions. (batch, time) bool:
                         those that are true, and logits come as (chosen, vocabulary)
        num_items_in_batch   targets in all accumulated batches; divides the loss in place of ours
        frozen           what `streams.freeze` made of these tokens behind this cache; then only
                         what is trained, and what lies above it, is run. The frozen part of the
                         cache is not moved on: it cannot be continued
        reads            what each augmenter made of these very tokens, when that is known already:
                         then they do not run, and their part of the cache has the tokens
        others           `shift_labels`: labels that are shifted already, in place of `labels`
        output_hidden_states   also what each layer of the anchor is given, bridges joined in, and
                         the last states after the norm: (batch, time, anchor width) each. A list
                         of layers: what these give, and None for the others

        Logits are such that their softmax is the mixture of the output path; where the gate is 0,
        and at birth, they are the anchor's own, bit for bit.
        Raises InputError: "sequence.too_long", "cache.parts", "cache.kind" for a cache that is not
        `new_cache`'s, "cache.room" for a full static one, and "input.empty", "input.tokens",
        "input.mask", "input.positions", "input.gate" for arguments that do not fit, and
        "input.embeds", "output.attentions" for what other models can be asked for.
        """
        check_inputs(others)
        if use_cache and past_key_values is None:
            past_key_values = self.new_cache()
        if not isinstance(past_key_values, CalmCache | None):
            raise InputError("cache.kind", "a composition keeps the cache that `new_cache` makes")
        streams = self.streams
        is_begun = past_key_values is not None and past_key_values.is_begun
        # Looking at ids waits for a GPU: there a prompt is checked, and no step after it.
        is_looked_at = not is_begun or input_ids.device.type == "cpu"
        if is_looked_at and not torch.compiler.is_compiling():
            check_tokens(input_ids, vocabulary=streams.top.vocabulary)
        if isinstance(past_key_values, StaticCalmCache):
            inputs = look_static(input_ids, attention_mask, position_ids, past_key_values)
        else:
            limit = streams.limit
            inputs = look(input_ids, attention_mask, position_ids, past_key_values, limit=limit)
        gates = self.gates_for(gate, rows=len(input_ids))
        is_open = self.is_open(gates)
        if isinstance(past_key_values, StaticCalmCache):
            past_key_values.check_parts(is_open=is_open)
        elif is_open and past_key_values is not None:
            self._check_cache(past_key_values, ahead=0 if reads is None else input_ids.shape[1])
        if frozen is not None:
            reads = frozen.reads
        if reads is None or not is_open:
            reads = streams.read(inputs) if is_open else []
        is_told = (
            self.config.output_hidden_states
            if output_hidden_states is None
            else output_hidden_states
        )
        heard: list[Tensor] | None = [] if is_told else None
        crosses = is_open and self.bridges_on
        hidden = streams.play(inputs, reads, gates, frozen, crosses=crosses, heard=heard)
        streams.settle(inputs, reads)
        # Not named above: the Trainer takes every such name for a column that data must have.
        shifted: Tensor | None = others.get("shift_labels")
        wanted = _shifted(labels) if shifted is None else shifted
        keep = logits_to_keep if wanted is None else wanted != -100
        logits = streams.speak(hidden, reads if self.output_on else (), gates, keep)
        loss = None if wanted is None else _loss(logits, wanted, num_items_in_batch)
        held: dict[str, Any] = {"loss": loss, "logits": logits, "past_key_values": past_key_values}
        if heard is not None:
            held["hidden_states"] = chosen_states((*heard, hidden), output_hidden_states)
        return CausalLMOutputWithPast(**held)

    def _prepare_cache_for_generation(  # type: ignore[override]  # there it is said to be a bool
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        mode: Any,
        batch_size: int,
        max_cache_length: int,
    ) -> None:
        """`generate` starts with our cache; it would make one that knows a single stream.

        Raises InputError("cache.kind") for a quantised or offloaded cache, "sequence.too_long" for
        a static one with more room than there are positions.
        """
        kind = generation_config.cache_implementation
        if kind not in (None, "dynamic", "static"):
            raise InputError("cache.kind", "a composition keeps a dynamic or a static cache")
        is_wanted = generation_config.use_cache and model_kwargs.get("past_key_values") is None
        if is_wanted and kind == "static":
            room = max(max_cache_length, generation_config.max_cache_len or 0)
            model_kwargs["past_key_values"] = self.new_cache(static=room)
            return
        if is_wanted:
            model_kwargs["past_key_values"] = self.new_cache()
        prepare: Any = GenerationMixin._prepare_cache_for_generation
        prepare(self, generation_config, model_kwargs, mode, batch_size, max_cache_length)

    @staticmethod
    def create_masks_for_generate(
        *, inputs_embeds: Tensor, attention_mask: Tensor | None, **_unused: Any
    ) -> Tensor | None:
        """What `generate` gives beside a static cache: which of the new tokens are real."""
        return None if attention_mask is None else attention_mask[:, -inputs_embeds.shape[1] :]

    def new_cache(self, *, static: int | None = None) -> CalmCache:
        """An empty cache for this composition.

        static   tokens that it has room for, all taken at once, so that the decode step keeps its
                 shapes and can be compiled; None: it grows
        Raises InputError("sequence.too_long") for more room than the composition has positions.
        """
        top, bridges = self.streams.top.depth, len(self.bridges)
        below = [one.depth for one in self.streams.below]
        if static is None:
            aligned = {
                index: (alignment, [one.index for one in self.streams.joints_of(index)])
                for index, alignment in enumerate(self.streams.alignments)
                if alignment is not None
            }
            return CalmCache(anchor=top, augmenters=below, bridges=bridges, aligned=aligned)
        if self.config.own_tokenizers:
            raise InputError("cache.kind", "two tokenizers meet in a cache that grows")
        if static > self.streams.limit:
            raise InputError(
                "sequence.too_long",
                "a static cache cannot have more room than there are positions",
                tokens=static,
                limit=self.streams.limit,
            )
        return StaticCalmCache(anchor=top, augmenters=below, bridges=bridges, room=static)

    def gates_for(self, gate: Gate | None, *, rows: int) -> list[float | Tensor]:
        """For each augmenter a number, or (batch,) numbers; None: `set_gate`'s.

        Raises InputError("input.gate").
        """
        count = len(self.augmenters)
        gate = self.gate if gate is None else gate
        if isinstance(gate, Tensor) and gate.shape == (rows,):
            return [gate] * count
        if isinstance(gate, Tensor) and gate.shape == (rows, count):
            return list(gate.unbind(dim=1))
        if isinstance(gate, Sequence) and len(gate) == count:
            return list(gate)
        if isinstance(gate, int | float):
            return [float(gate)] * count
        raise InputError(
            "input.gate",
            "a gate is one number, one for each augmenter, one for each request, or both",
            requests=rows,
            augmenters=count,
        )

    def is_open(self, gates: Sequence[float | Tensor]) -> bool:
        """Whether anything of the augmenters is to be heard; if not, they need not run."""
        is_let_in = any(isinstance(gate, Tensor) or gate != 0.0 for gate in gates)
        return is_let_in and (self.bridges_on or self.output_on)

    def _check_cache(self, cache: CalmCache, *, ahead: int) -> None:
        """All parts that will be used have seen the same tokens, or it cannot be continued.

        ahead   tokens that the augmenters have read before the others
        """
        if not cache.is_in_step(bridges=self.bridges_on, ahead=ahead):
            raise InputError(
                "cache.parts",
                "this cache was begun with other parts or with the gate shut, and cannot go on so",
            )


def _shifted(labels: Tensor | None) -> Tensor | None:
    """(batch, time): at each position the token that is to be said next, -100 for none."""
    return None if labels is None else functional.pad(labels[:, 1:], (0, 1), value=-100)


def _loss(logits: Tensor, wanted: Tensor, count: Tensor | int | None) -> Tensor:
    """Cross-entropy over the targets, in nats; a mean, or a sum over `count`."""
    targets = wanted[wanted != -100]
    total = functional.cross_entropy(logits.float(), targets, reduction="sum")
    return total / max(int(targets.numel()) if count is None else int(count), 1)


AutoConfig.register("calm", CalmConfig)
AutoModelForCausalLM.register(CalmConfig, CalmForCausalLM)
