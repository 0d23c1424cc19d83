"""Compositions that vLLM's attention can play, and both engines asked the same."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec
from tests.tiny import awaken, make_model, save_folder, some_ids

# In this process, and without a word to its makers.
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}

POSITIONS = 128
NEW_TOKENS = 16


def keep_composition(
    folder: Path,
    family: str,
    *augmenters: str,
    change: Callable[[PreTrainedModel], None] = lambda _: None,
) -> CalmForCausalLM:
    """A composition with its parents inside its folder; heads are 32 wide, as kernels want them.

    change   what is done to the anchor first
    """
    # Models without a window, or one that prompts go past.
    window = {"mistral": {"sliding_window": None}, "gemma2": {"query_pre_attn_scalar": 32}}
    anchor = make_model(
        family, width=128, heads=4, layers=5, positions=POSITIONS, seed=1, **window.get(family, {})
    )
    change(anchor)
    below = [
        make_model(kind, width=64, heads=2, positions=POSITIONS, seed=2 + i, **window.get(kind, {}))
        for i, kind in enumerate(augmenters)
    ]
    top = save_folder(anchor, folder.parent / "parents" / "anchor")
    under = [
        save_folder(model, folder.parent / "parents" / f"augmenter_{i}")
        for i, model in enumerate(below)
    ]
    model = awaken(CalmForCausalLM.compose(top, under, BridgeSpec(head_dim=32)))
    model.save_pretrained(folder, self_contained=True)
    # Gemma 2 bends its attention's scores, which in transformers only this form does.
    return CalmForCausalLM.from_pretrained(folder, attn_implementation="eager")


def some_prompts(count: int) -> list[list[int]]:
    """Prompts of 1 to 96 tokens, every third one begun as the one before it."""
    rows = some_ids(count, 96).tolist()
    prompts = [row[: 1 + 37 * index % 96] for index, row in enumerate(rows)]
    for index in range(2, count, 3):
        prompts[index] = (prompts[index - 1] + prompts[index])[:96]
    return prompts


@contextmanager
def vllm_on(folder: Path, **options: Any) -> Iterator[Any]:
    """vLLM in this process, with this composition."""
    # Here, so that the engine's other tests need no vLLM.
    from vllm import LLM  # noqa: PLC0415
    from vllm.distributed import cleanup_dist_env_and_memory  # noqa: PLC0415

    usual = {"enforce_eager": True, "max_num_seqs": 8, "kv_cache_memory_bytes": 64 << 20}
    usual |= {
        "dtype": "float32",
        "skip_tokenizer_init": True,
    }  # an anchor inside a composition has none of its own
    played = None
    try:
        played = LLM(str(folder), max_model_len=POSITIONS, seed=0, **(usual | options))
        yield played
    finally:
        del played
        gc.collect()
        cleanup_dist_env_and_memory()


def ask_vllm(
    played: Any, prompts: Sequence[list[int]], gates: Sequence[float | None], **how: Any
) -> list[Any]:
    """What vLLM says to each prompt, greedily."""
    from vllm import SamplingParams  # noqa: PLC0415

    params = [
        SamplingParams(
            temperature=0,
            max_tokens=NEW_TOKENS,
            ignore_eos=True,
            detokenize=False,
            extra_args=None if gate is None else {"gate": gate},
            **how,
        )
        for gate in gates
    ]
    told = played.generate([{"prompt_token_ids": one} for one in prompts], params, use_tqdm=False)
    return [one.outputs[0] for one in told]


@torch.no_grad()
def ask_transformers(
    model: CalmForCausalLM, prompts: Sequence[list[int]], gates: Sequence[float | None]
) -> list[list[int]]:
    """What the reference says to each prompt, greedily, one by one."""
    said = []
    for prompt, gate in zip(prompts, gates, strict=True):
        out = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
            gate=1.0 if gate is None else gate,
        )
        said.append(out[0, len(prompt) :].tolist())
    return said
