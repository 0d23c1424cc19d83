"""The model that an augmenter begins as: newborn, or one that goes on learning.

Knows shapes, tokenizers and folders; knows no corpus.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from calm_engine.capacity import Shape, feed_width
from calm_engine.data import end_of_answer
from calm_engine.errors import InputError
from calm_engine.families import Decoder, check_finite, decoder_of, load_parent, words_of
from calm_engine.specs import AugmentSpec


def begun(
    spec: AugmentSpec, tokenizer: PreTrainedTokenizerBase, proposed: Shape
) -> PreTrainedModel:
    """The model of a spec, in float32. Raises what `taken_on` raises."""
    folder = spec.base or spec.previous
    return taken_on(folder, spec.tokenizer) if folder else newborn(spec, tokenizer, proposed)


def newborn(
    spec: AugmentSpec, tokenizer: PreTrainedTokenizerBase, proposed: Shape
) -> LlamaForCausalLM:
    """A Llama-shaped model of random weights, as proposed where the spec is silent."""
    width, layers = spec.width or proposed.width, spec.layers or proposed.layers
    heads = spec.heads or (proposed.heads if width % proposed.heads == 0 else 1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=feed_width(width),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_of_answer(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    make: Any = LlamaForCausalLM  # untyped there
    model: LlamaForCausalLM = make(config)
    return model


def taken_on(folder: str, tokenizer: str) -> PreTrainedModel:
    """A model that goes on learning, with the very tokenizer of the anchor.

    Raises InputError: "augment.tokenizer" where the words differ, "augment.base" for a model whose
    logits are more than its head's product, and what loading a parent raises.
    """
    if words_of(folder) != words_of(tokenizer):
        raise InputError("augment.tokenizer", "the base has a tokenizer of its own", base=folder)
    model = load_parent(folder, dtype=torch.float32)
    check_finite(model)
    decoder = decoder_of(model)
    if type(decoder).head is not Decoder.head:
        kind = str(model.config.model_type)
        raise InputError("augment.base", "its logits are bent after the head", kind=kind)
    return model
