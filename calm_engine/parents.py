"""The parents of a composition: found, loaded, checked to fit together and to be those promised.

Knows folders and digests; knows no bridges and no running.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from calm_engine.alignment import Alignment
from calm_engine.config import CalmConfig, resolve_connections
from calm_engine.config_keys import bits_of, check_known
from calm_engine.digests import weights_digest
from calm_engine.errors import InputError
from calm_engine.families import (
    check_finite,
    check_folder,
    decoder_of,
    load_parent,
    read_config,
    read_tokenizer,
    tensors_digest,
    words_of,
)
from calm_engine.specs import BridgeSpec

Parent = str | Path | PreTrainedModel

# At 8 bits a model keeps what it learned, 2 bits of facts a weight; at 4 it keeps 0.7 ("Physics of
# Language Models", part 3.3).
AUGMENTER_BITS = 8

TOKENIZERS = "tokenizers"  # where a composition keeps those of parents that do not share one


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


def check_together(
    config: CalmConfig, models: Sequence[PreTrainedModel], alignments: Sequence[Alignment | None]
) -> None:
    """Anchor and augmenters fit the config. Raises "compose.vocabulary" and "bridge.layer"."""
    check_vocabularies(models, alignments)
    top, *below = (decoder_of(model) for model in models)
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
    first, *inside = (root / role for role in config.roles)
    top = first if anchor is None else anchor
    below: list[Parent] = list(inside if augmenters is None else augmenters)
    if len(below) != len(inside):
        raise InputError(
            "parent.missing",
            "the composition was built on another number of augmenters",
            given=len(below),
            wanted=len(inside),
        )
    for parent in (top, *below):
        if isinstance(parent, str | Path) and not Path(parent).is_dir():
            raise InputError(
                "parent.missing", "a parent's folder is not there", folder=Path(parent).name
            )
    return [top, *below]


def vouched(root: Path, config: CalmConfig) -> list[Path]:
    """The parents' folders inside a composition's, whose weights are those it was built on.

    For whoever loads them otherwise than `verified`. Raises InputError: "parent.digest",
    "parent.missing".
    """
    located(root, config, None, None)
    folders = [root / role for role in config.roles]
    for role, folder in zip(config.roles, folders, strict=True):
        check_folder(folder)
        _check_digest(role, weights_digest(folder), (config.parents or {}).get(role, ""))
    return folders


def verified(
    parent: Parent, role: str, promised: str, dtype: torch.dtype | None
) -> PreTrainedModel:
    """Load a parent whose weights are those that were promised. Raises "parent.digest"."""
    if promised.startswith("tensors:"):
        model = loaded(parent, dtype)
        _check_digest(role, tensors_digest(model), promised)
        return model
    # A model in memory is known by the folder it came from.
    folder = _folder(parent)
    found = weights_digest(folder) if folder else "a model that came from no folder"
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
    *,
    own_tokenizers: Sequence[int] = (),
) -> CalmConfig:
    """Describe the composition; refuse parents that do not fit together."""
    top = decoder_of(anchor)
    below = [decoder_of(augmenter) for augmenter in augmenters]
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
        own_tokenizers=list(own_tokenizers) or None,
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


# -- tokenizers ------------------------------------------------------------------------------------


def alignments_of(
    models: Sequence[PreTrainedModel],
    parents: Sequence[Parent],
    tokenizers: Sequence[PreTrainedTokenizerBase] | None,
) -> list[Alignment | None]:
    """How each augmenter's tokenizer meets the anchor's; None where they are the same one.

    models, parents   the anchor, then the augmenters; as loaded, and as they were given
    tokenizers        likewise; None: those in the parents' folders
    Raises InputError: "compose.vocabulary" when tokenizers differ and one of them is not known,
    "compose.tokenizer" for one that cannot be read by bytes or a wrong number of them.
    """
    if tokenizers is not None and len(tokenizers) != len(models):
        raise InputError(
            "compose.tokenizer",
            "give the tokenizer of the anchor and that of every augmenter",
            why=f"{len(tokenizers)} were given for {len(models)} models",
        )
    known = [tokenizers[i] if tokenizers else _folder(one) for i, one in enumerate(parents)]
    words = [_words(one) for one in known]
    sizes = [decoder_of(model).vocabulary for model in models]
    alignments: list[Alignment | None] = []
    for at in range(1, len(models)):
        is_known = words[0] is not None and words[at] is not None
        if sizes[at] == sizes[0] and (words[at] == words[0] or not is_known):
            alignments.append(None)
            continue
        if not is_known:
            raise InputError(
                "compose.vocabulary",
                "anchor and augmenter have different vocabularies; to compose them nevertheless "
                "give folders with tokenizer.json, or `tokenizers`",
                anchor=sizes[0],
                augmenter=sizes[at],
                which=f"augmenter_{at - 1}",
            )
        alignments.append(Alignment(_tokenizer(known[0]), _tokenizer(known[at])))
    return alignments


def keep_tokenizers(root: Path, alignments: Sequence[Alignment | None]) -> None:
    """Write the tokenizers of parents that do not share one; `kept_tokenizers` reads them."""
    for index, alignment in enumerate(alignments):
        if alignment is not None:
            alignment.anchor.save_pretrained(root / TOKENIZERS / "anchor")
            alignment.augmenter.save_pretrained(root / TOKENIZERS / f"augmenter_{index}")


def kept_tokenizers(root: Path, config: CalmConfig) -> list[Alignment | None]:
    """For each augmenter of a saved composition, how its tokenizer meets the anchor's.

    Raises InputError "model.tokenizer", and "composition.config" for an output path between two.
    """
    own = config.own_tokenizers or []
    if own and config.spec.output_path:
        raise InputError(
            "composition.config",
            "`own_tokenizers` and `bridge.output_path` clash: it mixes the words of one tokenizer",
        )
    anchor = _tokenizer(root / TOKENIZERS / "anchor") if own else None
    return [
        Alignment(anchor, _tokenizer(root / TOKENIZERS / f"augmenter_{index}"))
        if anchor is not None and index in own
        else None
        for index in range(len(config.augmenter_configs or []))
    ]


def check_vocabularies(
    models: Sequence[PreTrainedModel], alignments: Sequence[Alignment | None]
) -> None:
    """Parents that share one tokenizer have vocabularies of one size: the first is the anchor's."""
    sizes = [decoder_of(model).vocabulary for model in models]
    for index, alignment in enumerate(alignments):
        if alignment is None and sizes[1 + index] != sizes[0]:
            raise InputError(
                "compose.vocabulary",
                "anchor and augmenter share one tokenizer, but their vocabularies differ",
                anchor=sizes[0],
                augmenter=sizes[1 + index],
                which=f"augmenter_{index}",
            )


def _folder(parent: Parent) -> Path | None:
    """Where a parent lies; None for a model in memory that came from no folder."""
    told = parent.name_or_path if isinstance(parent, PreTrainedModel) else parent
    return Path(told) if told and Path(told).is_dir() else None


def _words(one: Path | PreTrainedTokenizerBase | None) -> dict[str, int] | None:
    """Token ids by token; None where no tokenizer is known."""
    if isinstance(one, PreTrainedTokenizerBase):
        return one.get_vocab()
    return None if one is None else words_of(one)


def _tokenizer(one: Path | PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    """The tokenizer itself, or that of a folder. Raises InputError("model.tokenizer")."""
    if isinstance(one, PreTrainedTokenizerBase):
        return one
    if one is None:
        raise InputError("model.tokenizer", "the tokenizer is not known")
    return read_tokenizer(one)
