"""How a composition is saved and loaded: a folder with what was trained, beside its parents.

Knows which tensors are ours and whose digests vouch for the parents. Knows nothing of running.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from calm_engine.card import card_of, copy_tokenizer
from calm_engine.citizenship import Citizen, check_options, device_of, dtype_of
from calm_engine.config import CalmConfig
from calm_engine.digests import weights_digest
from calm_engine.errors import InputError
from calm_engine.families import tensors_digest
from calm_engine.output_path import GATE_HEARS
from calm_engine.parents import (
    Parent,
    check_bits,
    check_together,
    keep_tokenizers,
    kept_tokenizers,
    located,
    read_composition,
    verified,
)
from calm_engine.streams import Streams

WEIGHTS = "model.safetensors"


class Kept(Citizen):  # type: ignore[no-untyped-call]  # transformers' class hook
    """Saving and loading of transformers' class, for a model whose parents stand beside it."""

    config: CalmConfig
    anchor: PreTrainedModel
    augmenters: nn.ModuleList
    bridges: nn.ModuleList
    output_gates: nn.ModuleList
    streams: Streams

    def save_pretrained(  # type: ignore[override]  # only what is ours is written, in one file
        self,
        save_directory: str | Path,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
        self_contained: bool = False,
        **options: Any,
    ) -> None:
        """Write the bridges and gates, the config with the parents' digests, tokenizer and card.

        tokenizer       None: the files of the folder that the anchor came from, if from one
        state_dict      tensors to write in place of the present ones; the parents' are left out
        self_contained  write the parents as well, into the folders inside where loading looks
        Raises InputError("model.option") for options of transformers that a composition lacks.
        """
        check_options(options)
        if not is_main_process:
            return
        root = Path(save_directory)
        root.mkdir(parents=True, exist_ok=True)
        if self_contained:
            self._save_parents(root)
        elif self.config.parents is None:  # made from a config alone
            parents = (self.anchor, *self.augmenters)
            told = zip(self.roles, map(tensors_digest, parents), strict=True)
            self.config.parents = dict(told)
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

    def _save_parents(self, root: Path) -> None:
        """Write anchor and augmenters and note the digests of what was written."""
        parents = dict(zip(self.roles, (self.anchor, *self.augmenters), strict=True))
        for role, parent in parents.items():
            parent.save_pretrained(root / role)
        self.config.parents = {role: weights_digest(root / role) for role in parents}

    @property
    def roles(self) -> list[str]:
        """What each parent is called: see `CalmConfig.roles`."""
        return self.config.roles

    @classmethod
    def from_pretrained(  # type: ignore[override]  # parents are told beside the folder
        cls,
        pretrained_model_name_or_path: str | Path,
        *_args: Any,
        anchor: Parent | None = None,
        augmenters: Sequence[Parent] | None = None,
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        attn_implementation: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a saved composition beside its parents, whose weights must be those it was built on.

        anchor, augmenters   folders or transformers models; None: the folders `anchor`,
                             `augmenter_0`, ... inside the composition (a self-contained one)
        dtype                of the parents that are loaded from folders; None: as stored
        device_map           one device, or None; compositions are not spread over several
        attn_implementation  of the parents, or None
        output_loading_info  also return transformers' report, in which nothing is ever missing
        Raises InputError: "model.option" for options of transformers that a composition lacks,
        "parent.digest" naming the parent that differs, "parent.missing",
        "composition.config" and "composition.weights" when the folder's own files do not fit or
        cannot be read, and what `compose` raises but for numbers that are none: the digest vouches
        for the parents, which are not looked through again at each start.
        """
        check_options(options)
        held_as = dtype_of(dtype if dtype is not None else options.get("torch_dtype"))
        device = device_of(device_map)
        root = Path(pretrained_model_name_or_path)
        config = read_composition(root)
        top, *below = located(root, config, anchor, augmenters)
        check_bits(below)
        models = [
            verified(parent, role, (config.parents or {}).get(role, ""), held_as)
            for parent, role in zip([top, *below], config.roles, strict=True)
        ]
        alignments = kept_tokenizers(root, config)
        check_together(config, models, alignments)
        make: Any = cls  # whose arguments are the composition's own
        model: Self = make(config, models[0], models[1:], alignments)
        try:
            own = load_file(root / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise InputError("composition.weights", "the weights cannot be read") from error
        model.load_own(own)
        if (root / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(root, local_files_only=True)
        if attn_implementation is not None:
            model.set_attn_implementation(attn_implementation)
        if device is not None:
            nn.Module.to(model, device)
        model.train(mode=False)
        if options.get("output_loading_info"):
            nothing = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
            return model, {name: set() for name in nothing}  # type: ignore[return-value]  # as there
        return model

    def trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The bridges and the output gates by name, and nothing else."""
        parts = (("bridges", self.bridges), ("output_gates", self.output_gates))
        return [
            (f"{part}.{name}", parameter)
            for part, module in parts
            for name, parameter in module.named_parameters()
        ]

    def own_state(self) -> dict[str, Tensor]:
        """What a saved composition holds: the trained weights and the measured scales, by name."""
        return _own(self.state_dict())

    def load_own(self, state: dict[str, Tensor]) -> None:
        """Take over weights of `own_state`'s names and shapes.

        Raises InputError("composition.weights") naming what is missing, unknown or misshapen.
        """
        wanted = {name: tuple(tensor.shape) for name, tensor in self.own_state().items()}
        found = {name: tuple(tensor.shape) for name, tensor in state.items()}
        # Gates of earlier files hear no doubts, and nor does a newborn's: its weights are nought.
        found = {n: shape for n, shape in wanted.items() if n.endswith(GATE_HEARS)} | found
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


def _own(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave the parents out of a state dict."""
    return {n: t for n, t in state.items() if n.startswith(("bridges.", "output_gates."))}
