"""The composition: a frozen anchor and frozen augmenters, played together over trained bridges.

The transformers class: birth, keeping, what may move, what a call means. How the streams run stands
in `streams`. Knows nothing of training, serving or where models are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
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

from calm_engine.alignment import Alignment
from calm_engine.bridge import Bridge, OutputGate, choose_heads
from calm_engine.cache import CalmCache
from calm_engine.card import card_of, copy_tokenizer
from calm_engine.config import CalmConfig
from calm_engine.errors import InputError
from calm_engine.families import decoder_of, read_config
from calm_engine.parents import (
    Parent,
    alignments_of,
    check_vocabularies,
    config_of,
    digest_of,
    keep_tokenizers,
    kept_tokenizers,
    loaded,
    located,
    verified,
)
from calm_engine.specs import BridgeSpec
from calm_engine.streams import Joint, Streams, look

Gate = float | Sequence[float] | Tensor  # see `CalmForCausalLM.forward`

WEIGHTS = "model.safetensors"

# Random tokens (sequences, tokens) on which the anchor's stream is measured at birth.
_MEASURED = (4, 64)


class CalmForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]  # transformers' class hook
    """Anchor and augmenters read every token; bridges carry states, the output path carries words.

    Source: CALM (arXiv 2401.02412), section 3. We differ: bridges are causal and zero at birth, and
    after the last layers p = (1 - g) p_anchor + g p_augmenter, with g from a small gate that is
    zero at birth. Nothing of the parents moves; `trainable_parameters` lists what may.
    """

    config: CalmConfig
    config_class = CalmConfig
    base_model_prefix = "anchor"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    _supports_sdpa = True
    _skip_keys_device_placement = ["past_key_values"]

    def __init__(
        self,
        config: CalmConfig,
        anchor: PreTrainedModel,
        augmenters: Sequence[PreTrainedModel],
        alignments: Sequence[Alignment | None] = (),
    ) -> None:
        """alignments   for each augmenter; None: it has the anchor's tokenizer. Empty: all do"""
        super().__init__(config)
        spec = config.spec
        self.anchor = anchor
        self.augmenters = nn.ModuleList(augmenters)
        joints = _joints(config)
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
        played = loaded(anchor, dtype)
        joined = [loaded(augmenter, dtype) for augmenter in augmenters]
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
        inputs = look(sample_ids.to(self.device), None, None, None, limit=self.streams.limit)
        hidden = anchor.embed(inputs.ids, inputs.positions)
        run = anchor.begin(hidden, None, inputs.positions, None)
        for layer in range(-1, max(joint.above for joint in self.streams.joints) + 1):
            hidden = hidden if layer < 0 else anchor.layer(layer, hidden, run)
            for joint in self.streams.joints_at(layer):
                power = hidden.float().pow(2).mean(-1).sqrt().median()
                self.streams.bridge(joint).scale.copy_(power)

    # -- keeping -----------------------------------------------------------------------------------

    def save_pretrained(  # type: ignore[override]  # only what is ours is written, in one file
        self,
        save_directory: str | Path,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
        **_unused: Any,
    ) -> None:
        """Write the bridges and gates, the config with the parents' digests, tokenizer and card.

        tokenizer    None: the files of the folder that the anchor came from, if it came from one
        state_dict   tensors to write in place of the present ones; the parents' are left out
        """
        if not is_main_process:
            return
        root = Path(save_directory)
        root.mkdir(parents=True, exist_ok=True)
        own = _own(self.state_dict() if state_dict is None else state_dict)
        held = {name: tensor.detach().cpu().contiguous() for name, tensor in own.items()}
        save_file(held, root / WEIGHTS, metadata={"format": "pt"})
        self.config.architectures = [type(self).__name__]
        self.config.save_pretrained(root)
        self.generation_config.save_pretrained(root)
        if tokenizer is not None:
            tokenizer.save_pretrained(root)
        else:
            copy_tokenizer(self.anchor.name_or_path, root)
        keep_tokenizers(root, self.streams.alignments)
        trained = sum(parameter.numel() for _, parameter in self.trainable_parameters())
        (root / "README.md").write_text(card_of(self.config, trained), encoding="utf-8")

    @classmethod
    def from_pretrained(  # type: ignore[override]  # parents are told beside the folder
        cls,
        pretrained_model_name_or_path: str | Path,
        *_args: Any,
        anchor: Parent | None = None,
        augmenters: Sequence[Parent] | None = None,
        dtype: torch.dtype | None = None,
        device_map: Any = None,
        **_unused: Any,
    ) -> CalmForCausalLM:
        """Load a saved composition beside its parents, whose weights must be those it was built on.

        anchor, augmenters   folders or transformers models; None: the folders `anchor`,
                             `augmenter_0`, ... inside the composition (a self-contained one)
        device_map           a device by name, or None; compositions are not spread over several
        Raises InputError: "parent.digest" naming the parent that differs, "parent.missing",
        "composition.config" and "composition.weights" when the folder's own files do not fit or
        cannot be read, and what `compose` raises.
        """
        root = Path(pretrained_model_name_or_path)
        if read_config(root).get("model_type") != CalmConfig.model_type:
            raise InputError("composition.config", "the folder holds no composition")
        config = CalmConfig.from_pretrained(root, local_files_only=True)
        assert isinstance(config, CalmConfig)
        top, *below = located(root, config, anchor, augmenters)
        roles = ["anchor", *(f"augmenter_{i}" for i in range(len(below)))]
        models = [
            verified(parent, role, (config.parents or {}).get(role, ""), dtype)
            for parent, role in zip([top, *below], roles, strict=True)
        ]
        alignments = kept_tokenizers(root, config)
        check_vocabularies(models, alignments)
        model = cls(config, models[0], models[1:], alignments)
        try:
            own = load_file(root / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise InputError("composition.weights", "the weights cannot be read") from error
        model.load_own(own)
        if (root / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(root, local_files_only=True)
        if isinstance(device_map, str) and device_map != "auto":
            nn.Module.to(model, torch.device(device_map))
        return model.train(mode=False)

    def own_state(self) -> dict[str, Tensor]:
        """What a saved composition holds: the trained weights and the measured scales, by name."""
        return _own(self.state_dict())

    def load_own(self, state: dict[str, Tensor]) -> None:
        """Take over weights of `own_state`'s names and shapes.

        Raises InputError("composition.weights") naming what is missing, unknown or misshapen.
        """
        wanted = {name: tuple(tensor.shape) for name, tensor in self.own_state().items()}
        found = {name: tuple(tensor.shape) for name, tensor in state.items()}
        names = sorted(wanted.keys() | found.keys())
        wrong = [name for name in names if wanted.get(name) != found.get(name)]
        if wrong:
            raise InputError(
                "composition.weights",
                "the bridges' weights do not fit the config",
                tensors=", ".join(wrong[:5]),
                count=len(wrong),
            )
        self.load_state_dict(state, strict=False)

    # -- what may move -----------------------------------------------------------------------------

    def trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The bridges and the output gates by name, and nothing else."""
        parts = (("bridges", self.bridges), ("output_gates", self.output_gates))
        return [
            (f"{part}.{name}", parameter)
            for part, module in parts
            for name, parameter in module.named_parameters()
        ]

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
        self._gates(gate, rows=1)
        self.gate = gate

    def set_parts(self, *, bridges: bool = True, output: bool = True) -> None:
        """Switch the bridges or the output path off, for attribution and for bridge dropout."""
        self.bridges_on = bridges
        self.output_on = output

    # -- running -----------------------------------------------------------------------------------

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
        **_unused: Any,
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

        Logits are such that their softmax is the mixture of the output path; where the gate is 0,
        and at birth, they are the anchor's own, bit for bit.
        Raises InputError: "sequence.too_long", "cache.parts", and "input.empty", "input.mask",
        "input.positions", "input.gate" for arguments that do not fit.
        """
        if use_cache and past_key_values is None:
            past_key_values = self.new_cache()
        streams = self.streams
        inputs = look(input_ids, attention_mask, position_ids, past_key_values, limit=streams.limit)
        gates = self._gates(self.gate if gate is None else gate, rows=len(input_ids))
        is_let_in = any(isinstance(one, Tensor) or one != 0.0 for one in gates)
        is_open = is_let_in and (self.bridges_on or self.output_on)
        if is_open and past_key_values is not None:
            self._check_cache(past_key_values)
        crosses = is_open and self.bridges_on
        reads = streams.read(inputs) if is_open else []
        risen = streams.rise(inputs, crosses=crosses)
        hidden = streams.join(inputs, risen, reads, gates, crosses=crosses)
        streams.settle(inputs, reads)
        keep = logits_to_keep if labels is None else _targets(labels)
        logits = streams.speak(hidden, reads if self.output_on else [], gates, keep)
        loss = None if labels is None else _loss(logits, labels, num_items_in_batch)
        held: dict[str, Any] = {"loss": loss, "logits": logits, "past_key_values": past_key_values}
        return CausalLMOutputWithPast(**held)

    def _prepare_cache_for_generation(
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        *rest: Any,
        **named: Any,
    ) -> Any:
        """`generate` starts with our cache; it would make one that knows a single stream.

        Raises InputError("cache.kind") for a static, quantised or offloaded cache.
        """
        if generation_config.cache_implementation not in (None, "dynamic"):
            raise InputError("cache.kind", "a composition keeps its own dynamic cache")
        if generation_config.use_cache and model_kwargs.get("past_key_values") is None:
            model_kwargs["past_key_values"] = self.new_cache()
        prepare: Any = GenerationMixin._prepare_cache_for_generation
        return prepare(self, generation_config, model_kwargs, *rest, **named)

    def new_cache(self) -> CalmCache:
        """An empty cache for this composition."""
        return CalmCache(
            anchor=self.streams.top.depth,
            augmenters=[one.depth for one in self.streams.below],
            bridges=len(self.bridges),
            aligned={
                index: (alignment, [one.index for one in self.streams.joints_of(index)])
                for index, alignment in enumerate(self.streams.alignments)
                if alignment is not None
            },
        )

    def _gates(self, gate: Gate, *, rows: int) -> list[float | Tensor]:
        """For each augmenter a number, or (batch,) numbers. Raises InputError("input.gate")."""
        count = len(self.augmenters)
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

    def _check_cache(self, cache: CalmCache) -> None:
        """All parts that will be used have seen the same tokens, or it cannot be continued."""
        if not cache.is_in_step(bridges=self.bridges_on):
            raise InputError(
                "cache.parts",
                "this cache was begun with other parts or with the gate shut, and cannot go on so",
            )


def _own(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave the parents out of a state dict."""
    return {n: t for n, t in state.items() if n.startswith(("bridges.", "output_gates."))}


def _joints(config: CalmConfig) -> list[Joint]:
    pairs = [(i, a, b) for i, pairs in enumerate(config.joined) for a, b in pairs]
    return [Joint(index, i, a, b) for index, (i, a, b) in enumerate(pairs)]


def _targets(labels: Tensor) -> Tensor:
    """(batch, time) bool: positions whose next token is to be said."""
    return functional.pad(labels[:, 1:] != -100, (0, 1), value=False)


def _loss(logits: Tensor, labels: Tensor, count: Tensor | int | None) -> Tensor:
    """Cross-entropy over the targets, in nats; a mean, or a sum over `count`."""
    wanted = labels[:, 1:][labels[:, 1:] != -100]
    total = functional.cross_entropy(logits.float(), wanted, reduction="sum")
    return total / max(int(wanted.numel()) if count is None else int(count), 1)


AutoConfig.register("calm", CalmConfig)
AutoModelForCausalLM.register(CalmConfig, CalmForCausalLM)
