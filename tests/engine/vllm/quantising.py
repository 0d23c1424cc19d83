"""An anchor of four bits a weight in the two usual forms, and the same numbers written out.

Scales are powers of two: every product is a number of bfloat16, and rounding twice changes nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from calm_engine.digests import weights_digest

GROUP, ZERO = 32, 8
ORDER = {"gptq": (0, 1, 2, 3, 4, 5, 6, 7), "awq": (0, 2, 4, 6, 1, 3, 5, 7)}
TOLD: dict[str, dict[str, Any]] = {
    "gptq": {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": GROUP,
        "desc_act": False,
        "sym": True,
    },
    "awq": {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True},
}


@torch.no_grad()
def round_off(model: PreTrainedModel) -> None:
    """Make every weight of the layers' linear maps one that four bits and a scale can tell."""
    for name, weight in model.named_parameters():
        if _is_packed(name):
            whole, scales = _parted(weight)
            weight.copy_(((whole - ZERO) * scales.repeat_interleave(GROUP, 0)).T)


def pack(folder: Path, packed: Path, how: str) -> None:
    """A composition with its parents inside, the anchor's weights packed."""
    shutil.copytree(folder, packed)
    anchor = packed / "anchor"
    tensors = {}
    for name, weight in load_file(anchor / "model.safetensors").items():
        tensors |= _packed(name, weight, how) if _is_packed(name) else {name: weight.bfloat16()}
    save_file(tensors, anchor / "model.safetensors", {"format": "pt"})
    told = {"quantization_config": TOLD[how], "dtype": "bfloat16"}
    _change(anchor / "config.json", **told)
    config = json.loads((packed / "config.json").read_text())
    parents = config["parents"] | {"anchor": weights_digest(anchor)}
    _change(packed / "config.json", parents=parents, anchor_config=config["anchor_config"] | told)


def _is_packed(name: str) -> bool:
    return name.endswith("proj.weight")


def _parted(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(inputs, outputs) from 0 to 15, and (groups, outputs) scales."""
    turned = weight.T.float()
    most = turned.view(-1, GROUP, turned.shape[1]).abs().amax(1) / (ZERO - 1)
    scales = torch.exp2(most.log2().ceil())
    whole = (turned / scales.repeat_interleave(GROUP, 0)).round() + ZERO
    return whole.clamp(0, 15).int(), scales


def _packed(name: str, weight: Tensor, how: str) -> dict[str, Tensor]:
    whole, scales = _parted(weight)
    zeros = torch.full(scales.shape, ZERO, dtype=torch.int32)
    begin = name.removesuffix("weight")
    if how == "gptq":  # along the inputs; of a zero one less is written down
        told = {"qweight": _joined(whole.T, how).T, "qzeros": _joined(zeros - 1, how)}
        told["g_idx"] = torch.arange(whole.shape[0], dtype=torch.int32) // GROUP
    else:
        told = {"qweight": _joined(whole, how), "qzeros": _joined(zeros, how)}
    told["scales"] = scales.bfloat16()
    return {f"{begin}{part}": tensor.contiguous() for part, tensor in told.items()}


def _joined(whole: Tensor, how: str) -> Tensor:
    """Eight numbers of the last dimension in one of 32 bits."""
    eight = whole.reshape(*whole.shape[:-1], -1, 8)[..., list(ORDER[how])].long()
    joined = sum(eight[..., at] << (4 * at) for at in range(8))
    assert isinstance(joined, Tensor)
    return torch.where(joined >= 2**31, joined - 2**32, joined).int()


def _change(path: Path, **told: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
