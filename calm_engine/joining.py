"""Compositions taken apart and put together along their augmenters.

Nothing is trained and nothing is copied: the results share parents and bridges with what they came
from. Knows no files.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from calm_engine.alignment import Alignment
from calm_engine.config import CalmConfig
from calm_engine.errors import InputError
from calm_engine.modeling import CalmForCausalLM


@dataclass(frozen=True)
class Part:
    """One augmenter of a composition with everything that joins it to the anchor.

    connections   pairs of an augmenter's and an anchor's layer, one for each bridge
    output_gate   None where the composition has no output path
    alignment     None where the augmenter shares the anchor's tokenizer
    """

    augmenter: PreTrainedModel
    described: dict[str, Any]
    digest: str
    connections: list[list[int]]
    bridges: tuple[nn.Module, ...]
    output_gate: nn.Module | None
    alignment: Alignment | None


def parts_of(model: CalmForCausalLM) -> list[Part]:
    """A composition's augmenters, in order."""
    config = model.config
    return [
        Part(
            augmenter=augmenter,
            described=(config.augmenter_configs or [])[index],
            digest=(config.parents or {}).get(f"augmenter_{index}", ""),
            connections=[list(pair) for pair in config.joined[index]],
            bridges=tuple(
                model.bridges[joint.index]
                for joint in model.streams.joints
                if joint.augmenter == index
            ),
            output_gate=model.output_gates[index] if len(model.output_gates) else None,
            alignment=model.streams.alignments[index],
        )
        for index, augmenter in enumerate(cast("list[PreTrainedModel]", list(model.augmenters)))
    ]


def detach(model: CalmForCausalLM, index: int) -> CalmForCausalLM:
    """The composition without one of its augmenters; the others stay as they were trained.

    Raises InputError: "compose.augmenters" when there is no such augmenter or none would be left.
    """
    parts = parts_of(model)
    if not 0 <= index < len(parts) or len(parts) == 1:
        raise InputError(
            "compose.augmenters",
            "a composition needs at least one augmenter, and can only lose one that it has",
            index=index,
            augmenters=len(parts),
        )
    return _assembled(model, [part for at, part in enumerate(parts) if at != index])


def side_by_side(models: Sequence[CalmForCausalLM]) -> CalmForCausalLM:
    """Compositions on one anchor as one, the bridges of each added after the others'.

    They were trained apart and have never met: measure what that costs before relying on it.
    Raises InputError: "compose.augmenters" for an empty list, "parent.digest" when the anchors
    differ, "compose.bridge" when the bridges have other shapes.
    """
    if not models:
        raise InputError("compose.augmenters", "a composition needs at least one augmenter")
    first = models[0]
    for other in models[1:]:
        found, promised = ((one.config.parents or {}).get("anchor") for one in (other, first))
        if found != promised:
            raise InputError(
                "parent.digest",
                "compositions are put side by side on one anchor, and these have different ones",
                role="anchor",
                found=found,
                promised=promised,
            )
        if _shape(other) != _shape(first):
            raise InputError(
                "compose.bridge", "the bridges have other shapes, and cannot be put side by side"
            )
    return _assembled(first, [part for model in models for part in parts_of(model)])


def replaced(model: CalmForCausalLM, index: int, augmenter: PreTrainedModel) -> CalmForCausalLM:
    """The composition with the same bridges on another augmenter: what it then says, they alone do.

    Raises InputError("compose.augmenters") when the newcomer's layers have another shape.
    """
    parts = parts_of(model)
    old, new = (
        [it.shape for it in one.parameters()] for one in (parts[index].augmenter, augmenter)
    )
    if old != new:
        raise InputError("compose.augmenters", "the other augmenter has another shape", index=index)
    parts[index] = replace(parts[index], augmenter=augmenter, digest="")
    return _assembled(model, parts)


def _shape(model: CalmForCausalLM) -> dict[str, Any]:
    """What the bridges are built by, without where they stand and how they were trained."""
    told = model.config.spec.to_dict()
    return {name: it for name, it in told.items() if name not in ("connections", "dropout")}


def _assembled(model: CalmForCausalLM, parts: Sequence[Part]) -> CalmForCausalLM:
    """A composition of these parts on the model's anchor."""
    config = copy.deepcopy(model.config)
    assert isinstance(config, CalmConfig)
    config.augmenter_configs = [part.described for part in parts]
    config.connections = [part.connections for part in parts]
    config.bridge = model.config.spec.to_dict() | {"connections": config.connections}
    config.parents = {"anchor": (model.config.parents or {}).get("anchor", "")} | {
        f"augmenter_{index}": part.digest for index, part in enumerate(parts)
    }
    alignments = [part.alignment for part in parts]
    config.own_tokenizers = [i for i, one in enumerate(alignments) if one is not None] or None
    made = type(model)(config, model.anchor, [part.augmenter for part in parts], alignments)
    # In place: the streams keep a view of these lists.
    for at, bridge in enumerate(bridge for part in parts for bridge in part.bridges):
        made.bridges[at] = bridge
    for at, part in enumerate(parts):
        if part.output_gate is not None:
            made.output_gates[at] = part.output_gate
    made.config.max_position_embeddings = made.streams.limit
    made.generation_config = copy.deepcopy(model.generation_config)
    return made.train(mode=False)
