"""The parents of a composition: found, loaded, checked to fit together and to be those promised.

Knows folders and digests; knows no bridges and no running.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel

from calm_engine.config import CalmConfig, resolve_connections
from calm_engine.config_keys import bits_of, check_known
from calm_engine.digests import weights_digest
from calm_engine.errors import InputError
from calm_engine.families import (
    Decoder,
    check_finite,
    decoder_of,
    load_parent,
    read_config,
    tensors_digest,
    words_of,
)
from calm_engine.specs import BridgeSpec

Parent = str | Path | PreTrainedModel

# At 8 bits a model keeps what it learned, 2 bits of facts a weight; at 4 it keeps 0.7 ("Physics of
# Language Models", part 3.3).
AUGMENTER_BITS = 8


def read_composition(root: Path) -> CalmConfig:
    """The config of a saved composition.

    Raises InputError: "composition.config" when the folder holds none or its values cannot be, and
    "model.config" for keys that a composition does not know or that load code.
    """
    told = read_config(root)
    if told.get("model_type") != CalmConfig.model_type:
        raise InputError("composition.config", "the folder holds no composition")
    check_known(told, CalmConfig)
    try:
        config = CalmConfig.from_pretrained(root, local_files_only=True)
        assert isinstance(config, CalmConfig)
        _ = config.spec, config.joined
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise InputError("composition.config", "config.json has a value that cannot be") from error
    return config


def check_together(config: CalmConfig, models: Sequence[PreTrainedModel]) -> None:
    """Anchor and augmenters fit the config. Raises "compose.vocabulary" and "bridge.layer"."""
    top, *below = (decoder_of(model) for model in models)
    check_vocabularies(top, below)
    depths = [one.depth for one in below]
    joined = BridgeSpec(connections=config.joined)
    resolve_connections(joined, anchor_depth=top.depth, augmenter_depths=depths)


def check_bits(augmenters: Sequence[Parent]) -> None:
    """Raises InputError("augmenter.bits") for augmenters stored with too few bits a weight."""
    for index, one in enumerate(augmenters):
        told = one.config.to_dict() if isinstance(one, PreTrainedModel) else read_config(one)
        bits = bits_of(told)
        if bits is not None and bits < AUGMENTER_BITS:
            raise InputError(
                "augmenter.bits",
                "an augmenter is never kept below 8 bits",
                which=f"augmenter_{index}",
                bits=bits or "untold",
            )


def located(
    root: Path, config: CalmConfig, anchor: Parent | None, augmenters: Sequence[Parent] | None
) -> list[Parent]:
    """The anchor, then the augmenters: as given, or from inside the composition's folder."""
    count = len(config.augmenter_configs or [])
    top = root / "anchor" if anchor is None else anchor
    inside = [root / f"augmenter_{i}" for i in range(count)]
    below: list[Parent] = list(inside if augmenters is None else augmenters)
    if len(below) != count:
        raise InputError(
            "parent.missing",
            "the composition was built on another number of augmenters",
            given=len(below),
            wanted=count,
        )
    for parent in (top, *below):
        if isinstance(parent, str | Path) and not Path(parent).is_dir():
            raise InputError(
                "parent.missing", "a parent's folder is not there", folder=Path(parent).name
            )
    return [top, *below]


def verified(
    parent: Parent, role: str, promised: str, dtype: torch.dtype | None
) -> PreTrainedModel:
    """Load a parent whose weights are those that were promised. Raises "parent.digest"."""
    if promised.startswith("tensors:"):
        model = loaded(parent, dtype)
        _check_digest(role, tensors_digest(model), promised)
        return model
    # A model in memory is known by the folder it came from.
    folder = parent.name_or_path if isinstance(parent, PreTrainedModel) else parent
    is_there = bool(folder) and Path(str(folder)).is_dir()
    found = weights_digest(str(folder)) if is_there else "a model that came from no folder"
    _check_digest(role, found, promised)
    return loaded(parent, dtype)


def _check_digest(role: str, found: str, promised: str) -> None:
    if found != promised:
        raise InputError(
            "parent.digest",
            f"the weights of the {role} are not those the composition was built on",
            role=role,
            found=found,
            promised=promised,
        )


def checked(parent: Parent, dtype: torch.dtype | None) -> PreTrainedModel:
    """A parent that nothing has vouched for yet; raises "model.weights" where it has a NaN."""
    model = loaded(parent, dtype)
    check_finite(model)
    return model


def loaded(parent: Parent, dtype: torch.dtype | None) -> PreTrainedModel:
    return parent if isinstance(parent, PreTrainedModel) else load_parent(parent, dtype=dtype)


def digest_of(parent: Parent) -> str:
    """What a parent is: of a folder its weight files, of a model in memory its tensors."""
    if isinstance(parent, PreTrainedModel):
        return tensors_digest(parent)
    return weights_digest(parent)


def config_of(
    anchor: PreTrainedModel,
    augmenters: Sequence[PreTrainedModel],
    spec: BridgeSpec,
    parents: dict[str, str],
) -> CalmConfig:
    """Describe the composition; refuse parents that do not fit together."""
    top = decoder_of(anchor)
    below = [decoder_of(augmenter) for augmenter in augmenters]
    check_vocabularies(top, below)
    connections = resolve_connections(
        spec, anchor_depth=top.depth, augmenter_depths=[one.depth for one in below]
    )
    told = anchor.config
    return CalmConfig(
        anchor_config=_described(anchor),
        augmenter_configs=[_described(augmenter) for augmenter in augmenters],
        bridge=spec.to_dict(),
        connections=[[list(pair) for pair in pairs] for pairs in connections],
        parents=parents,
        vocab_size=top.vocabulary,
        hidden_size=top.width,
        num_hidden_layers=top.depth,
        num_attention_heads=told.num_attention_heads,
        max_position_embeddings=min(one.limit for one in (top, *below)),
        bos_token_id=told.bos_token_id,
        eos_token_id=told.eos_token_id,
        pad_token_id=told.pad_token_id,
    )


def _described(model: PreTrainedModel) -> dict[str, Any]:
    """A parent's config, without the folder it lay in: that belongs to one machine."""
    return {key: it for key, it in model.config.to_dict().items() if key != "_name_or_path"}


def check_words(anchor: Parent, augmenters: Sequence[Parent]) -> None:
    """Folders that bring tokenizers must bring the same one: equal sizes alone prove nothing."""
    words = [
        None if isinstance(one, PreTrainedModel) else words_of(one) for one in (anchor, *augmenters)
    ]
    for index, told in enumerate(words[1:]):
        if words[0] is not None and told is not None and told != words[0]:
            raise InputError(
                "compose.vocabulary",
                "anchor and augmenter must share one tokenizer; their words differ",
                which=f"augmenter_{index}",
            )


def check_vocabularies(anchor: Decoder, augmenters: Sequence[Decoder]) -> None:
    for index, augmenter in enumerate(augmenters):
        if augmenter.vocabulary != anchor.vocabulary:
            raise InputError(
                "compose.vocabulary",
                "anchor and augmenter must share one tokenizer; their vocabularies differ",
                anchor=anchor.vocabulary,
                augmenter=augmenter.vocabulary,
                which=f"augmenter_{index}",
            )
