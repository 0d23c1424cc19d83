"""Which keys the config.json of a parent may have, and what they say of its weights' precision.

A key that transformers does not know changes nothing in the model that it builds, whatever the key
says: a model that needs it would speak nonsense without a word. Knows no weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from transformers import CONFIG_MAPPING, GenerationConfig, PreTrainedConfig

from calm_engine.errors import InputError

# Keys that make transformers import code or fetch kernels that are not part of the installation.
_CODE_KEYS = ("auto_map", "custom_pipelines")
_CODE_PREFIXES = ("_attn_implementation", "attn_implementation", "_experts_implementation")
# A note that some versions of transformers left behind, and that none reads.
_NO_CODE = "_attn_implementation_autoset"

# Read by transformers though no field of a config class has the name: older names, and what its
# loading looks for.
_READ = {
    "head_dim",  # layers ask for it, also where the class has no such field
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "per_layer_config",
    "quantization_config",
    "tie_last_hidden_states",
    "torch_dtype",
    # Older names of rotary positions: Llama and its kin, Phi-3, GPT-NeoX, Gemma 3.
    "partial_rotary_factor",
    "rope_scaling",
    "rope_theta",
    "rotary_emb_base",
    "rotary_pct",
    "rope_local_base_freq",
    "sliding_window_pattern",
}

# Strays of published models of the supported families that say nothing of how the model computes.
_NOTES = {
    _NO_CODE,
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "_sliding_window_pattern",  # Gemma 3, beside the layer types that were made from it
    "cache_implementation",  # Gemma
    "finetuning_task",
    "gradient_checkpointing",
    "is_llama_config",  # SmolLM
    "max_sequence_length",  # Llama, beside max_position_embeddings
    "max_window_layers",  # SmolLM3; without use_sliding_window there is no window
    "n_ctx",  # GPT-2, beside n_positions
    "n_special",
    "num_local_experts",  # Qwen3 MoE, beside num_experts
    "output_past",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "sliding_window_size",  # Gemma 2, beside sliding_window
    "task_specific_params",
    "tokenizer_class",
    "transformers.js_config",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    # What transformers puts there when it reads a GGUF file.
    "_model_name_or_path",
    "feed_forward_length",  # GPT-2; the weights' shapes tell it again
    "unk_token_id",
    # Ids and lists that concern generation or a head that no decoder here has.
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "pad_token_id",
    "sep_token_id",
}

# Strays that say nothing as long as they have one of these values; another one asks for something
# that transformers would leave out.
_IDLE: dict[str, tuple[object, ...]] = {
    "add_cross_attention": (False,),
    "attention_bias": (False,),
    "clip_qkv": (None,),
    "cross_attention_hidden_size": (None,),
    "full_attn_mod": (1,),  # Phi-4 mini
    "hidden_act": ("gelu_pytorch_tanh",),  # Gemma, whose true name for it is hidden_activation
    "interpolate_factor": (1,),  # Phi-4 mini
    "is_decoder": (False, True),
    "lm_head_bias": (False,),  # Phi-4 mini
    "mlp_bias": (False,),
    "pruned_heads": ({},),
    "qkv_bias": (False,),
    "rope_interleaved": (False,),  # SmolLM
    "sliding_window": (None,),
    "tf_legacy_loss": (False,),
    "tie_encoder_decoder": (False,),
    "torchscript": (False,),
    "use_mrope": (False,),  # Qwen2
    "use_qk_norm": (False,),
    "use_sliding_window": (False,),
}


def check_no_code(config: dict[str, Any]) -> None:
    """Raises InputError("model.config") for keys that load code, however deep they stand."""
    stray = sorted({key for key in _keys(config) if _is_code_key(key)})
    if stray:
        raise InputError(
            "model.config", "config.json has keys that load code", keys=", ".join(stray)
        )


def _keys(value: object) -> Iterator[str]:
    """Every key of a JSON value, all the way down."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from _keys(child)


def _is_code_key(key: str) -> bool:
    return key != _NO_CODE and (key in _CODE_KEYS or key.startswith(_CODE_PREFIXES))


def check_known(config: dict[str, Any], kind: type[PreTrainedConfig] | None = None) -> None:
    """Raises InputError("model.config") naming the keys that the config class does not know.

    kind    the class; None: that of `model_type`
    """
    kind = kind or CONFIG_MAPPING[config["model_type"]]
    known = _known(kind)
    stray = sorted(
        key for key, value in config.items() if key not in known and value not in _IDLE.get(key, ())
    )
    if stray:
        raise InputError(
            "model.config",
            f"The config.json has keys that models of type {kind.model_type} do not know:"
            f" {', '.join(stray)}. Find out what they are for: if the model computes the same"
            " without them, delete them and try again; nothing was loaded.",
            keys=", ".join(stray),
        )


def _known(kind: type[PreTrainedConfig]) -> set[str]:
    fields = {field.name for field in dataclasses.fields(kind)}
    # Settings of generation once stood here; transformers reads them as such.
    generation = set(GenerationConfig._get_default_generation_params())
    return fields | set(kind.attribute_map) | generation | _READ | _NOTES


def quantiser_of(config: dict[str, Any]) -> str:
    """What quantised a model, in lower case; "" where nothing did or it is not told."""
    told = config.get("quantization_config") or {}
    told = told if isinstance(told, dict) else told.to_dict()
    return str(told.get("quant_method") or "").lower()


def bits_of(config: dict[str, Any]) -> int | None:
    """Bits of a quantised weight, 0 where the config does not tell; None when it is not quantised.

    config   of a model: `quantization_config` is what the usual quantisers write
    """
    told = config.get("quantization_config")
    if told is None:
        return None
    if not isinstance(told, dict):
        told = told.to_dict()
    if told.get("load_in_4bit") or told.get("_load_in_4bit"):
        return 4
    if told.get("load_in_8bit") or told.get("_load_in_8bit"):
        return 8
    named = {"fp8": 8, "fbgemm_fp8": 8, "mxfp4": 4}.get(str(told.get("quant_method")), 0)
    bits = told.get("bits", told.get("w_bit", named))
    return bits if isinstance(bits, int) else 0
