"""A composition as vLLM runs it: its own model classes for the parents, our bridges between them.

    ids -> augmenters' layers -> states -> anchor's layers, bridges joined in -> last -> logits

The twin of `streams`, on vLLM's flat batch: one row for each token, of whatever requests it holds.
Knows no server and no files but the folder's own layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig
from vllm.compilation.decorators import support_torch_compile
from vllm.config import CacheConfig, VllmConfig
from vllm.distributed import get_tensor_model_parallel_world_size
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    MergedColumnParallelLinear,
    RowParallelLinear,
)
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.model_executor.model_loader.utils import initialize_model

from calm_engine.bridge import Bridge, Heads, Meeting, choose_heads, rotary_angles
from calm_engine.config import CalmConfig
from calm_engine.config_keys import bits_of, quantiser_of
from calm_engine.errors import InputError
from calm_engine.output_path import OutputGate, Voice, spoken_together
from calm_engine.parents import vouched
from calm_engine.specs import BridgeSpec
from calm_engine.streams import Joint, joints_of


class PagedBridge(Bridge):
    """A bridge whose keys and values lie in vLLM's paged cache, beside those of the parents.

    With tensor parallelism each rank has its share of the heads, where they can be shared out; else
    every rank has all of them, which costs little: a bridge is small.
    """

    def __init__(
        self,
        spec: BridgeSpec,
        heads: Heads,
        *,
        anchor_width: int,
        augmenter_width: int,
        cache_config: CacheConfig | None,
        prefix: str,
    ) -> None:
        super().__init__(spec, heads, anchor_width=anchor_width, augmenter_width=augmenter_width)
        ranks = get_tensor_model_parallel_world_size()
        if heads.shared % ranks == 0:
            self._share_out(heads, ranks)
        self.paged = Attention(
            self.heads.count,
            heads.width,
            scale=heads.width**-0.5,
            num_kv_heads=self.heads.shared,
            cache_config=cache_config,
            prefix=f"{prefix}.paged",
        )

    def _share_out(self, heads: Heads, ranks: int) -> None:
        inner, shared = heads.count * heads.width, heads.shared * heads.width
        plain: dict[str, Any] = {"bias": False, "return_bias": False}
        width, read = self.query.in_features, self.key_value.in_features
        self.query = ColumnParallelLinear(width, inner, **plain)
        self.key_value = MergedColumnParallelLinear(read, [shared, shared], **plain)
        self.out = RowParallelLinear(inner, width, **plain)
        self.heads = Heads(heads.count // ranks, heads.shared // ranks, heads.width)

    def _attend(
        self,
        asked: Tensor,
        read: Tensor,
        mask: Tensor | None,  # noqa: ARG002  who sees whom, vLLM knows
        angles: tuple[Tensor, Tensor] | None,
        cache: Any,  # noqa: ARG002  vLLM keeps it
        meeting: Meeting | None,
    ) -> Tensor:
        """Causal over each request's own tokens, which vLLM keeps apart: (tokens, 1, width)."""
        query, key, value = (part.flatten(1) for part in self._split(asked, read, angles, meeting))
        attended: Tensor = self.paged(query, key, value)
        return attended[:, None]


class Parent:
    """One of vLLM's models taken apart, as `families.Decoder` takes one of transformers'.

    The layers of the families in `plugin.FAMILIES` take (positions, hidden, residual) and give
    (hidden, residual). The state is the sum of both: what is added to `hidden` is added to it.
    """

    def __init__(self, model: Any) -> None:
        self.body = model.model
        self.depth = len(self.body.layers)

    def embed(self, ids: Tensor) -> Tensor:
        """(tokens) -> (tokens, width)."""
        embedded: Tensor = self.body.embed_input_ids(ids)
        return embedded

    def layer(
        self, index: int, positions: Tensor, hidden: Tensor, residual: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run layer `index`; the state is the sum of what comes back."""
        out: tuple[Tensor, Tensor] = self.body.layers[index](positions, hidden, residual)
        return out

    def last(self, hidden: Tensor, residual: Tensor | None) -> Tensor:
        """The last states after the norm."""
        normed, _ = self.body.norm(hidden, residual)
        last: Tensor = normed
        return last


@support_torch_compile(dynamic_arg_dims={"ids": 0, "positions": 0, "gates": 0})
class PagedStreams(nn.Module):
    """All that is run for one batch of tokens, as one graph where vLLM compiles."""

    def __init__(
        self,
        *,
        vllm_config: VllmConfig,  # noqa: ARG002  the decorator wants both
        prefix: str = "",  # noqa: ARG002
        parents: Sequence[nn.Module],
        joints: Sequence[Joint],
        bridges: nn.ModuleList,
        says: bool,
    ) -> None:
        super().__init__()
        self.top, *self.below = (Parent(model) for model in parents)
        self.joints = list(joints)
        # The composition owns these; here they are seen.
        self.bridges = cast("list[Bridge]", list(bridges))
        self.says = says

    def forward(self, ids: Tensor, positions: Tensor, gates: Tensor) -> Tensor:
        """The last states of the anchor, and where there is an output path of each augmenter.

        ids, positions   (tokens)
        gates            (tokens, augmenters): how far each is let in
        Returns (tokens, anchor width [+ the augmenters' widths]).
        """
        reads = [self._read(index, ids, positions) for index in range(len(self.below))]
        last = self._join(ids, positions, [states for states, _ in reads], gates)
        heard = [said for _, said in reads if said is not None]
        return torch.cat([last, *heard], dim=-1) if heard else last

    def _read(
        self, index: int, ids: Tensor, positions: Tensor
    ) -> tuple[dict[int, Tensor], Tensor | None]:
        augmenter = self.below[index]
        wanted = {joint.below for joint in self.joints if joint.augmenter == index}
        top = augmenter.depth if self.says else max(wanted) + 1
        hidden, residual, states = augmenter.embed(ids), None, {}
        for layer in range(top):
            hidden, residual = augmenter.layer(layer, positions, hidden, residual)
            if layer in wanted:
                states[layer] = hidden + residual
        return states, augmenter.last(hidden, residual) if self.says else None

    def _join(
        self,
        ids: Tensor,
        positions: Tensor,
        reads: Sequence[dict[int, Tensor]],
        gates: Tensor,
    ) -> Tensor:
        # To a bridge each token is a request of its own; who sees whom is the paged cache's affair.
        angles = rotary_angles(positions[:, None], self.bridges[0].heads.width)
        hidden, residual = self.top.embed(ids), None
        for layer in range(-1, self.top.depth):
            if layer >= 0:
                hidden, residual = self.top.layer(layer, positions, hidden, residual)
            for joint in self.joints:
                if joint.above != layer:
                    continue
                state = hidden if residual is None else hidden + residual
                part = self.bridges[joint.index].part(
                    state[:, None],
                    reads[joint.augmenter][joint.below][:, None],
                    None,
                    angles=angles,
                    gate=gates[:, joint.augmenter],
                )
                hidden = hidden + part[:, 0].to(hidden.dtype)
        return self.top.last(hidden, residual)


class CalmForCausalLM(nn.Module):
    """What vLLM makes of a composition's folder, with its parents' folders inside.

    Raises InputError: "parent.digest" and "parent.missing"; what vLLM cannot run was refused
    before (`plugin.Checks`).
    """

    gates: Tensor

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:  # noqa: ARG002  vLLM's
        super().__init__()
        model_config = vllm_config.model_config
        config: CalmConfig = model_config.hf_config
        found = vouched(Path(model_config.model), config)
        folders = dict(zip(config.roles, found, strict=True))
        self.config = config
        self.widths = [told["hidden_size"] for told in config.parent_configs]
        for role, told in zip(config.roles, config.parent_configs, strict=True):
            # Attributes by role: so vLLM's loader finds them behind the same names in the files.
            setattr(self, role, _made(vllm_config, told, role, folders[role]))
        self.secondary_weights = [
            DefaultModelLoader.Source(str(folder), None, prefix=f"{role}.", fall_back_to_pt=False)
            for role, folder in folders.items()
        ]
        self.bridges = nn.ModuleList(self._bridges(vllm_config.cache_config))
        self.output_gates = nn.ModuleList(
            OutputGate(
                anchor_width=self.widths[0],
                augmenter_width=width,
                shut_below=config.spec.shut_below,
            )
            for width in (self.widths[1:] if config.spec.output_path else ())
        )
        self.streams = PagedStreams(
            vllm_config=vllm_config,
            parents=[self.get_submodule(role) for role in config.roles],
            joints=joints_of(config),
            bridges=self.bridges,
            says=config.spec.output_path,
        )
        rows = vllm_config.scheduler_config.max_num_batched_tokens
        # How far each token's request lets each augmenter in; the runner writes it before a step.
        self.register_buffer("gates", torch.ones(rows, len(self.widths) - 1), persistent=False)

    def _bridges(self, cache_config: CacheConfig | None) -> Iterable[PagedBridge]:
        top, *_ = self.config.parent_configs
        spec = self.config.spec
        heads = choose_heads(
            spec, anchor_width=self.widths[0], anchor_heads=top["num_attention_heads"]
        )
        for joint in joints_of(self.config):
            yield PagedBridge(
                spec,
                heads,
                anchor_width=self.widths[0],
                augmenter_width=self.widths[joint.augmenter + 1],
                cache_config=cache_config,
                prefix=f"bridges.{joint.index}",
            )

    def let_in(self, gates: Sequence[float], counts: Sequence[int]) -> None:
        """Write the gates of the next step: `gates[i]` for the next `counts[i]` tokens."""
        told = torch.tensor(gates).repeat_interleave(torch.tensor(counts))
        self.gates[: len(told)] = told[:, None].to(self.gates)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """(tokens) -> (tokens, anchor width)."""
        embedded: Tensor = self.streams.top.embed(input_ids)
        return embedded

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """What `compute_logits` wants of each token: last states, and gates where words are mixed.

        Raises InputError("input.embeds") for embeddings in place of tokens: augmenters read ids.
        """
        if inputs_embeds is not None or intermediate_tensors is not None:
            raise InputError("input.embeds", "a composition reads tokens, all in one place")
        gates = self.gates[: len(input_ids)]
        hidden: Tensor = self.streams(input_ids, positions, gates)
        return torch.cat([hidden, gates.to(hidden.dtype)], dim=-1) if self.output_gates else hidden

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """(sampled tokens, what `forward` gave) -> (sampled tokens, vocabulary)."""
        if not self.output_gates:
            return self._head("anchor", hidden_states)
        count = len(self.output_gates)
        last, *heard, gates = torch.split(hidden_states, [*self.widths, count], dim=-1)
        alone = Voice(self._head("anchor", last))

        def voices() -> Iterator[tuple[Voice, Tensor]]:
            for index, (state, module) in enumerate(zip(heard, self.output_gates, strict=True)):
                voice = Voice(self._head(self.config.roles[index + 1], state))
                doubts = torch.stack([alone.doubt(), voice.doubt()], dim=-1)
                yield voice, module(last, state, doubts) * gates[:, index]

        return spoken_together(alone, voices())

    def _head(self, role: str, last: Tensor) -> Tensor:
        logits: Tensor = getattr(self, role).compute_logits(last)
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Take the bridges and gates of this folder, and let vLLM's classes take the parents'.

        Raises InputError("composition.weights") for tensors that do not fit the config.
        """
        loaded = set()
        for part, told in groupby(weights, key=lambda item: item[0].partition(".")[0]):
            if part in self.config.roles:
                inner = ((name.partition(".")[2], tensor) for name, tensor in told)
                loaded |= {f"{part}.{name}" for name in getattr(self, part).load_weights(inner)}
            else:
                loaded |= self._take(dict(told))
        return loaded

    def _take(self, told: dict[str, Tensor]) -> set[str]:
        for name, tensor in told.items():
            holder, _, attribute = name.rpartition(".")
            try:
                held = getattr(self.get_submodule(holder), attribute)
                _fill(held, tensor)
            except (AttributeError, AssertionError, RuntimeError, ValueError) as error:
                raise InputError(
                    "composition.weights", "a tensor does not fit the config", tensors=name
                ) from error
        return set(told)


def _fill(held: Tensor, tensor: Tensor) -> None:
    """Copy a tensor of the file, or this rank's part of it where the module has only that."""
    take = getattr(held, "weight_loader", None)
    if take is None:
        if held.shape != tensor.shape:
            raise ValueError(f"{tuple(tensor.shape)} into {tuple(held.shape)}")
        held.data.copy_(tensor)
    elif hasattr(held, "output_dim") and take.__func__ is MergedColumnParallelLinear.weight_loader:
        for index, half in enumerate(tensor.chunk(2)):  # keys, then values
            take(held, half, index)
    else:
        take(held, tensor)


def _made(vllm_config: VllmConfig, told: dict[str, Any], role: str, folder: Path) -> nn.Module:
    """One of vLLM's models, without its weights; how it is quantised is its own affair."""
    inner = vllm_config.with_hf_config(AutoConfig.for_model(**told))
    if bits_of(told) is not None:
        part = inner.model_config
        # There vLLM looks which layers are quantised.
        part.model, part.quantization = str(folder), quantiser_of(told)
        inner.quant_config = VllmConfig.get_quantization_config(part, inner.load_config)
    made: nn.Module = initialize_model(vllm_config=inner, prefix=role)
    return made
