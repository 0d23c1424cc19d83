"""What a composition weighs beside its anchor: parameters, cache of a token, decoding's ceiling.

Knows no training and no questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calm_engine.cache import CalmCache
from calm_engine.modeling import CalmForCausalLM

TOKENS = 4  # read to see what a token leaves in the caches


@dataclass(frozen=True)
class Costs:
    """By part: "anchor", "augmenters", "bridges" with the output gates.

    parameters   shared ones counted once
    cache        bytes that each token read leaves behind
    ceiling      the most of the bare anchor's tokens a second at batch 1, where decoding is bound
                 by the bytes of weights: W_B / (W_B + W_A + bridges)
    """

    parameters: dict[str, int]
    cache: dict[str, int]
    ceiling: float


def costs_of(model: CalmForCausalLM) -> Costs:
    """Count weights, and read a few tokens to see what they leave in the caches."""
    parts: dict[str, list[nn.Module]] = {
        "anchor": [model.anchor],
        "augmenters": list(model.augmenters),
        "bridges": [*model.bridges, *model.output_gates],
    }
    weights = {name: _weights(modules) for name, modules in parts.items()}
    held = {name: sum(map(_bytes, found)) for name, found in weights.items()}
    counted = {name: sum(one.numel() for one in found) for name, found in weights.items()}
    return Costs(counted, cache_of(model), held["anchor"] / sum(held.values()))


def storage_bytes(*modules: nn.Module) -> int:
    """Bytes of all weights and buffers of these together; what several share is counted once."""
    tensors = [one for module in modules for one in (*module.parameters(), *module.buffers())]
    storages = (one.untyped_storage() for one in tensors)
    return sum({it.data_ptr(): it.nbytes() for it in storages}.values())


def bridges_width(model: CalmForCausalLM) -> int:
    """Numbers that the bridges keep of each token: their keys and values."""
    heads = (model.streams.bridge(joint).heads for joint in model.streams.joints)
    return sum(2 * one.shared * one.width for one in heads)


def _weights(modules: Iterable[nn.Module]) -> list[Tensor]:
    found = {id(one): one for module in modules for one in module.parameters()}
    return list(found.values())


@torch.no_grad()
def cache_of(model: CalmForCausalLM) -> dict[str, int]:
    """Bytes that each token read leaves behind, by part."""
    ids = torch.zeros((1, TOKENS), dtype=torch.long, device=model.device)
    cache: Any = model(input_ids=ids, use_cache=True, gate=1.0).past_key_values
    assert isinstance(cache, CalmCache)
    parts = {"anchor": [cache.anchor], "augmenters": cache.augmenters, "bridges": [cache.bridges]}
    return {name: sum(map(_held, each)) // TOKENS for name, each in parts.items()}


def _held(cache: Any) -> int:
    """Bytes of one stream's keys and values; a layer that was never read has none."""
    filled = [layer for layer in cache.layers if layer.is_initialized]
    return sum(_bytes(layer.keys) + _bytes(layer.values) for layer in filled)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
