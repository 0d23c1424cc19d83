"""Writes a composition of a few thousand random weights: for benches of what is around a model.

`python -m calm_engine.bench.tiny FOLDER [--seed N]` leaves anchor, augmenter and composition in it,
and says their digests as one JSON object. It writes plain letters without end, very fast.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from calm_engine.digests import write_manifest
from calm_engine.modeling import CalmForCausalLM

POSITIONS = 1024
SPECIALS = ("<|pad|>", "<|begin|>", "<|end|>")
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write(root: Path, seed: int = 0) -> dict[str, str]:
    """Digest of each part's folder, by its name."""
    tokenizer = byte_tokenizer()
    for part, (name, width) in enumerate((("anchor", 48), ("augmenter", 32))):
        _model(tokenizer, width, 3 * seed + part).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    made = CalmForCausalLM.compose(root / "anchor", [root / "augmenter"])
    source = torch.Generator().manual_seed(3 * seed + 2)
    with torch.no_grad():
        for name, weight in made.trainable_parameters():
            if name.endswith("openness"):
                weight.fill_(0.05)
            elif "norm" not in name:
                weight.copy_(torch.randn(weight.shape, generator=source) * 0.3)
    made.save_pretrained(root / "composition")
    return {name: write_manifest(root / name) for name in ("anchor", "augmenter", "composition")}


def byte_tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    """One token a byte, after the special ones: any text goes through and back."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: index for index, word in enumerate([*SPECIALS, *letters])}
    bare = Tokenizer(models.BPE(vocab=words, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bare.decoder = decoders.ByteLevel()
    pad, begin, end = SPECIALS
    make: Any = PreTrainedTokenizerFast  # untyped there
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=bare,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        chat_template=CHAT,
        **options,
    )
    return tokenizer


def _model(tokenizer: PreTrainedTokenizerFast, width: int, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    make: Any = LlamaForCausalLM  # untyped there
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model: PreTrainedModel = make(config)
    words = tokenizer.get_vocab()
    silent = [at for word, at in words.items() if not (len(word) == 1 and word.isascii())]
    head: Any = model
    with torch.no_grad():
        # Never the likeliest of hundreds: no end, and no sign that a page would leave out.
        head.lm_head.weight[silent] = 0.0
    return model


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("folder", type=Path)
    words.add_argument("--seed", type=int, default=0)
    told = words.parse_args()
    print(json.dumps(write(told.folder, told.seed)))
