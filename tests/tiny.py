"""Real transformers models of a few thousand weights, and a byte tokenizer. No downloads, no mocks.

Knows the decoder families that the engine runs; the tests of laws walk over all of them.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from calm_engine.bench.tiny import SPECIALS, byte_tokenizer
from calm_engine.modeling import CalmForCausalLM
from calm_engine.output_path import GATE_HEARS, HEARING
from calm_engine.specs import BridgeSpec

FAMILIES = (
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "gpt2",
    "gemma2",
    "gemma3_text",
    "gpt_neox",
    "olmo2",
    "phi3",
    "smollm3",
    # Mixtures of experts.
    "mixtral",
    "olmoe",
    "qwen2_moe",
    "qwen3_moe",
)
VOCABULARY = 256 + len(SPECIALS)
POSITIONS = 96


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, after the special ones: any text goes through and back."""
    return byte_tokenizer(padding_side="left", clean_up_tokenization_spaces=False)


def make_model(
    family: str,
    *,
    width: int = 48,
    layers: int = 4,
    heads: int = 4,
    vocabulary: int = VOCABULARY,
    positions: int = POSITIONS,
    seed: int = 0,
    **more: object,
) -> PreTrainedModel:
    """A random model of this family, in evaluation mode. Its states are lively, not near zero.

    more   of its config
    """
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": positions,
        "initializer_range": 0.2,
        **special,
        **more,
    }
    grouped = {"intermediate_size": 2 * width, "num_key_value_heads": heads // 2}
    gemma = {**grouped, "head_dim": width // heads, "sliding_window": 8}
    routed = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": width}
    torch.manual_seed(seed)
    makers = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape, **grouped)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**shape, **grouped)),
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**shape, **grouped, head_dim=width // heads)),
        "mistral": lambda: MistralForCausalLM(
            MistralConfig(**{"sliding_window": 8, **shape}, **grouped)
        ),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**shape)),
        "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**shape, **gemma)),
        "gemma3_text": lambda: Gemma3ForCausalLM(
            Gemma3TextConfig(**shape, **gemma, sliding_window_pattern=2)
        ),
        "gpt_neox": lambda: GPTNeoXForCausalLM(
            GPTNeoXConfig(**shape, intermediate_size=2 * width, attention_dropout=0.0)
        ),
        "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**shape, **grouped)),
        "phi3": lambda: Phi3ForCausalLM(Phi3Config(**shape, **grouped)),
        "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**shape, **grouped)),
        "mixtral": lambda: MixtralForCausalLM(
            MixtralConfig(**shape, **grouped, num_local_experts=4, num_experts_per_tok=2)
        ),
        "olmoe": lambda: OlmoeForCausalLM(
            OlmoeConfig(**shape, **grouped, num_experts=4, num_experts_per_tok=2)
        ),
        # The first layer is dense.
        "qwen2_moe": lambda: Qwen2MoeForCausalLM(
            Qwen2MoeConfig(
                **shape,
                **grouped,
                **routed,
                shared_expert_intermediate_size=width,
                mlp_only_layers=[0],
            )
        ),
        "qwen3_moe": lambda: Qwen3MoeForCausalLM(
            Qwen3MoeConfig(**shape, **grouped, **routed, head_dim=width // heads)
        ),
    }
    model: PreTrainedModel = makers[family]()
    return model.eval()


def make_pair(
    family: str, augmenter_family: str | None = None
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """An anchor and a narrower augmenter with other heads; the same family unless told."""
    anchor = make_model(family, width=48, layers=5, heads=4, seed=1)
    augmenter = make_model(augmenter_family or family, width=32, layers=4, heads=2, seed=2)
    return anchor, augmenter


def make_composition(
    family: str,
    augmenter_family: str | None = None,
    *,
    spec: BridgeSpec | None = None,
) -> CalmForCausalLM:
    """A composition as after training: bridges and gates speak up."""
    anchor, augmenter = make_pair(family, augmenter_family)
    return awaken(CalmForCausalLM.compose(anchor, [augmenter], spec))


def with_twin(*, voice: float) -> CalmForCausalLM:
    """A newborn composition whose augmenter is the anchor again, its logits times `voice`."""
    anchor = make_model("llama", width=48, layers=5, heads=4, seed=1)
    twin = copy.deepcopy(anchor)
    with torch.no_grad():
        twin.lm_head.weight.mul_(voice)
    return CalmForCausalLM.compose(anchor, [twin])


@torch.no_grad()
def said(model: torch.nn.Module, ids: Tensor, **how: object) -> Tensor:
    """A model's logits, without a graph."""
    logits: Tensor = model(ids, **how).logits
    return logits


# A gate that is all but shut is shut in use: larger weights of these parts would shut it for good.
GATES = {GATE_HEARS: 1.0 / HEARING, ".judge.": 0.1, ".gate.": 0.25}


def awaken(model: CalmForCausalLM, seed: int = 3) -> CalmForCausalLM:
    """Give every trained weight a value, as training would: nothing is zero any more."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.trainable_parameters():
            if name.endswith("openness"):
                weight.fill_(0.05)
            elif "norm" not in name:
                size = 0.3 * next((by for part, by in GATES.items() if part in name), 1.0)
                weight.copy_(torch.randn(weight.shape, generator=source) * size)
    return model


def save_folder(model: PreTrainedModel, folder: Path) -> Path:
    """A model folder as one downloads it: weights, config and tokenizer."""
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def embedder_folder(folder: Path, kind: str = "bert", *, width: int = 32) -> Path:
    """A random model to make vectors with: an encoder ("bert"), or a decoder of this family."""
    torch.manual_seed(7)
    shape = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind != "bert":
        return save_folder(make_model(kind, width=width, layers=2, heads=2, seed=7), folder)
    config = BertConfig(
        **shape,
        vocab_size=VOCABULARY,
        intermediate_size=2 * width,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
    )
    return save_folder(BertModel(config).eval(), folder)


def some_ids(rows: int = 2, tokens: int = 12, seed: int = 4) -> Tensor:
    """Random token ids without special ones: (rows, tokens)."""
    source = torch.Generator().manual_seed(seed)
    return torch.randint(len(SPECIALS), VOCABULARY, (rows, tokens), generator=source)
