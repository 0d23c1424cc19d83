"""What vLLM calls in each of its processes before it looks at a model.

Found by the entry point group `vllm.general_plugins`. Knows vLLM's registries and nothing of
tensors: vLLM looks at models in a process without a device.
"""

from __future__ import annotations

import os

import vllm
from transformers import AutoConfig
from transformers.cache_utils import get_layer_types_and_kwargs
from vllm import ModelRegistry
from vllm.config import ModelConfig, VllmConfig
from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig
from vllm.transformers_utils.config import _CONFIG_REGISTRY

from calm_engine.config import CalmConfig
from calm_engine.config_keys import bits_of, quantiser_of
from calm_engine.errors import InputError
from calm_engine.vllm import requests

VERSION = "0.32"  # whose inner doors `requests` knows
ARCHITECTURE = "CalmForCausalLM"
# Whose layers are played one by one (`model.Parent`). Of these the ones of Gemma tell vLLM each
# layer's window; the others' window is the whole model's, which inside another model is lost.
WINDOWED = ("gemma2", "gemma3_text")
# Anchors quantised so were compared with the same numbers written out.
QUANTISERS = ("awq", "gptq")
FAMILIES = (*WINDOWED, "llama", "mistral", "phi3", "qwen2", "qwen3")


def register() -> None:
    """Make `vllm serve FOLDER` know compositions; calling it again changes nothing."""
    _CONFIG_REGISTRY[CalmConfig.model_type] = CalmConfig
    MODELS_CONFIG_MAP[ARCHITECTURE] = Checks
    ModelRegistry.register_model(ARCHITECTURE, f"calm_engine.vllm.model:{ARCHITECTURE}")
    requests.follow()


class Checks(VerifyAndUpdateConfig):
    """What is looked at before a worker is started, so that a refusal is one sentence."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfig) -> None:
        """Refuse what would not run, and choose the runner that tells a model its requests' gates.

        vLLM's second runner has another door for that, which needs an accelerator to be tried.
        """
        if not vllm.__version__.startswith(f"{VERSION}."):
            raise InputError("vllm.version", found=vllm.__version__, wanted=VERSION)
        check_can_run(model_config.hf_config)
        os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")

    @staticmethod
    def verify_and_update_config(vllm_config: VllmConfig) -> None:
        """Raises InputError("vllm.pipeline"): both models run in step, in one place."""
        if vllm_config.parallel_config.pipeline_parallel_size > 1:
            raise InputError(
                "vllm.pipeline", "a composition is shared out by tensors, not layer by layer"
            )


def check_can_run(config: CalmConfig) -> None:
    """Raises InputError: "vllm.family", "vllm.quantised", "vllm.tokenizers" and "vllm.window"."""
    if config.own_tokenizers:
        raise InputError(
            "vllm.tokenizers", "an augmenter with a tokenizer of its own runs in our server alone"
        )
    for role, told in zip(config.roles, config.parent_configs, strict=True):
        kind = str(told.get("model_type"))
        if kind not in FAMILIES:
            raise InputError(
                "vllm.family",
                f"the {role} is of a type that vLLM does not run under bridges",
                kind=kind,
                known=", ".join(FAMILIES),
            )
        layers, _ = get_layer_types_and_kwargs(AutoConfig.for_model(**told))
        if kind not in WINDOWED and set(layers) != {"full_attention"}:
            raise InputError(
                "vllm.window", f"the {role} has a sliding window, which runs in our server alone"
            )
        is_played = role == "anchor" and quantiser_of(told) in QUANTISERS
        if bits_of(told) is not None and not is_played:
            raise InputError(
                "vllm.quantised",
                f"the {role} is quantised in a way that vLLM was not tried with under bridges",
                how=quantiser_of(told) or "untold",
            )
