"""What bridges weigh beside an anchor of the size companies use, by formula. Loads no weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from calm_engine.bench.models import size, trained
from calm_engine.costs import bridges_width
from calm_engine.figures import Figure
from calm_engine.modeling import CalmForCausalLM
from calm_engine.parents import config_of
from calm_engine.specs import BridgeSpec

# Qwen2.5-7B and Qwen2.5-0.5B as published, with the larger one's vocabulary for both.
ANCHOR = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
AUGMENTER = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 152064,
    "tie_word_embeddings": True,
}


def measure() -> Iterator[Figure]:
    """Parameters and bytes of cache for each token, of the default bridge and of the paper's."""
    make_config: Any = Qwen2Config
    make: Any = Qwen2ForCausalLM
    for name, spec in (("default", BridgeSpec()), ("paper", BridgeSpec.paper())):
        with torch.device("meta"):
            anchor, augmenter = (make(make_config(**one)) for one in (ANCHOR, AUGMENTER))
            config = config_of(anchor, [augmenter], spec, {})
            model = CalmForCausalLM(config, anchor, [augmenter])
        is_ours = name == "default"
        share = trained(model) / size(anchor)
        against = "the anchor's parameters (7B with 0.5B)"
        yield Figure(
            f"bridges.{name}.parameters", share, "ratio", against, 0.03 if is_ours else None
        )
        width = ANCHOR["hidden_size"] // ANCHOR["num_attention_heads"]
        whole = 2 * ANCHOR["num_hidden_layers"] * ANCHOR["num_key_value_heads"] * width
        against = "the anchor's cache of a token"
        yield Figure(
            f"bridges.{name}.cache",
            bridges_width(model) / whole,
            "ratio",
            against,
            0.25 if is_ours else None,
        )
