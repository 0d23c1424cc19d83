"""What transformers asks of a model class besides running it, and what a composition refuses of it.

Parents made from a config alone, options of loading and saving, arguments of `forward`. Knows no
streams and no folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from calm_engine.config import CalmConfig
from calm_engine.errors import InputError
from calm_engine.families import check_family

# Arguments of `forward` that other models take: the code of the refusal, and the reason.
_INPUTS = {
    "inputs_embeds": (
        "input.embeds",
        "every model of a composition reads tokens, and embeddings are those of one",
    ),
    "output_attentions": (
        "output.attentions",
        "the layers of anchor and augmenters keep no attention weights",
    ),
}

# Options of loading and saving that would change what is loaded or where it goes.
_OPTIONS = {
    "device_mesh": "a composition stands on one device",
    "gguf_file": "bring the file in with `calm import`",
    "ignore_mismatched_sizes": "bridges fit their config or are refused",
    "load_in_4bit": "quantise a parent and give it as a model",
    "load_in_8bit": "quantise a parent and give it as a model",
    "push_to_hub": "nothing leaves this machine",
    "quantization_config": "quantise a parent and give it as a model",
    "state_dict": "weights come from the folder; `load_own` takes others",
    "subfolder": "give the folder itself",
    "tp_plan": "a composition stands on one device",
    "variant": "there is one file of weights",
}


def check_inputs(given: Mapping[str, Any]) -> None:
    """Refuse what `forward` cannot do; other arguments that it does not know are left alone.

    Raises InputError: "input.embeds", "output.attentions".
    """
    for name, (code, reason) in _INPUTS.items():
        value = given.get(name)
        if value is not None and value is not False:
            raise InputError(code, f"`{name}` cannot be given: {reason}", argument=name)


def chosen_states(
    states: tuple[Tensor, ...], asked: bool | list[int] | None
) -> tuple[Tensor | None, ...]:
    """All states of the anchor's stream, or what the layers that were asked for give.

    states   the embeddings, then what each layer gives, the last after the norm
    """
    if not isinstance(asked, list):
        return states
    return tuple(one if layer in asked else None for layer, one in enumerate(states[1:]))


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse options that would be passed over. Raises InputError("model.option") naming one.

    Options that concern a download, or that are off, say nothing here and are left alone.
    """
    for name, reason in _OPTIONS.items():
        if given.get(name):
            raise InputError("model.option", f"`{name}`: {reason}", option=name)


def dtype_of(told: torch.dtype | str | None) -> torch.dtype | None:
    """A type or its name; None for "auto": as stored. Raises InputError("model.option")."""
    if told is None or isinstance(told, torch.dtype):
        return told
    found = None if told == "auto" else getattr(torch, told, None)
    if told != "auto" and not isinstance(found, torch.dtype):
        raise InputError("model.option", f"`dtype`: there is no type {told}", option="dtype")
    return found


def device_of(device_map: Any) -> torch.device | None:
    """The one device of a device map; None: where the parents are.

    Raises InputError("model.option") when it names several.
    """
    if device_map is None:
        return None
    named = set(device_map.values()) if isinstance(device_map, dict) else {device_map}
    if len(named) != 1 or named & {"balanced", "balanced_low_0", "sequential", "disk"}:
        raise InputError(
            "model.option",
            "`device_map`: a composition stands on one device, and cannot be spread over several",
            option="device_map",
        )
    if named == {"auto"}:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(named.pop())


def parents_of(
    config: CalmConfig, attention: str | None
) -> tuple[PreTrainedModel, list[PreTrainedModel]]:
    """An anchor and augmenters of the config's shapes and random weights.

    attention   the implementation for all of them; None: each model's own choice
    Raises InputError: "composition.config" when the config describes no parents, "model.family".
    """
    described = [config.anchor_config, *(config.augmenter_configs or [])]
    if len(described) < 2 or not all(described):
        raise InputError("composition.config", "the config describes no parents")
    top, *below = (_model_of(cast("dict[str, Any]", one), attention) for one in described)
    return top, below


def _model_of(described: dict[str, Any], attention: str | None) -> PreTrainedModel:
    told = dict(described)
    kind = str(told.pop("model_type", None))
    check_family(kind)
    how = {} if attention is None else {"attn_implementation": attention}
    make: Any = AutoModelForCausalLM.from_config  # untyped there
    model: PreTrainedModel = make(AutoConfig.for_model(kind, **told), **how)
    return model


class Citizen(PreTrainedModel):  # type: ignore[no-untyped-call]  # transformers' class hook
    """Methods of transformers' class that mean something else for a composition, or nothing."""

    supports_gradient_checkpointing = True  # transformers marks layers; `Streams.join` heeds them

    def enable_input_require_grads(self) -> None:
        """Nothing to do: the graph starts at a bridge, and never at the frozen embeddings."""

    def resize_token_embeddings(self, *_args: Any, **_options: Any) -> Any:
        """Refused: raises InputError("model.resize")."""
        raise InputError("model.resize", "a composition's parents keep their vocabulary")

    def set_input_embeddings(self, *_args: Any) -> None:
        """Refused: raises InputError("model.resize")."""
        raise InputError("model.resize", "a composition's parents keep their embeddings")

    def set_output_embeddings(self, *_args: Any) -> None:
        """Refused: raises InputError("model.resize")."""
        raise InputError("model.resize", "a composition's parents keep their heads")

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        """The parents do the attending; transformers sets theirs where it sets ours."""
        return True
