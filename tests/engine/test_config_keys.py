"""Which keys of a config.json come in: those of published models do, strangers do not."""

from __future__ import annotations

import json

import pytest
from transformers import BitsAndBytesConfig, GPTQConfig

from calm_engine.config_keys import bits_of, check_known, check_no_code
from calm_engine.errors import InputError
from calm_engine.families import FAMILIES
from tests.tiny import make_model

# Keys beside those of the config class, as they stand in published models of the family.
PUBLISHED: dict[str, dict[str, object]] = {
    "SmolLM2": {
        "model_type": "llama",
        "_name_or_path": "checkpoints",
        "is_llama_config": True,
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": 100000,
        "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    },
    "Llama": {"model_type": "llama", "max_sequence_length": 2048, "pretraining_tp": 1},
    "Qwen2.5": {
        "model_type": "qwen2",
        "use_mrope": False,
        "max_window_layers": 28,
        "rope_theta": 1e6,
    },
    "Qwen3": {"model_type": "qwen3", "_attn_implementation_autoset": True, "rope_scaling": None},
    "Gemma 2": {
        "model_type": "gemma2",
        "hidden_act": "gelu_pytorch_tanh",
        "cache_implementation": "hybrid",
        "sliding_window_size": 4096,
    },
    "Gemma 3": {
        "model_type": "gemma3_text",
        "rope_local_base_freq": 10000,
        "sliding_window_pattern": 6,
        "cache_implementation": "hybrid",
    },
    "Phi-4 mini": {
        "model_type": "phi3",
        "full_attn_mod": 1,
        "interpolate_factor": 1,
        "lm_head_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "partial_rotary_factor": 0.75,
    },
    "Pythia": {"model_type": "gpt_neox", "rotary_emb_base": 10000, "rotary_pct": 0.25},
    "GPT-2": {
        "model_type": "gpt2",
        "n_ctx": 1024,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "summary_type": "cls_index",
        "hidden_size": 768,  # transformers maps the usual name
    },
    "Qwen3 MoE": {"model_type": "qwen3_moe", "head_dim": 128, "decoder_sparse_step": 1},
    "SmolLM3": {"model_type": "smollm3", "pretraining_tp": 2, "max_window_layers": 28},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_published_models_say_beside_their_config_is_let_in(name: str) -> None:
    check_no_code(PUBLISHED[name])
    check_known(PUBLISHED[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_transformers_writes_is_let_in(family: str) -> None:
    told = json.loads(make_model(family).config.to_json_string(use_diff=False))
    check_no_code(told)
    check_known(told)


@pytest.mark.parametrize(
    "told",
    [
        {"lm_head_bias": True},
        {"rope_interleaved": True},
        {"use_mrope": True},
        {"clip_qkv": 8.0},
        {"flavour": None},
        {"quantization": {"bits": 4}},
    ],
)
def test_a_key_that_would_change_the_model_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(told))):
        check_known(told | {"model_type": "llama"})


@pytest.mark.parametrize(
    ("told", "bits"),
    [
        (None, None),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
        ({"quant_method": "bitsandbytes", "_load_in_4bit": True}, 4),
        ({"quant_method": "gptq", "bits": 3}, 3),
        ({"quant_method": "fp8"}, 8),
        ({"quant_method": "something new"}, 0),
        (BitsAndBytesConfig(load_in_4bit=True), 4),
        (GPTQConfig(bits=8), 8),
    ],
)
def test_how_many_bits_a_weight_has_is_read_from_the_quantisers_config(
    told: object, bits: int | None
) -> None:
    assert bits_of({"quantization_config": told}) == bits
