"""Many answers at once on either engine, beside the bare anchor on the same engine.

The torch engine and `generate` are measured in processes of their own, in which one thread alone
plays a model, as in `calm serve`: where two threads do, OpenMP lets both their teams sleep between
any two sums, and a step of eight rows takes half as long again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch

from calm_engine.bench import blocks, bursts, sharing
from calm_engine.bench.apart import in_a_process
from calm_engine.bench.figures import ratio
from calm_engine.bench.models import load_anchor, new_composition, size
from calm_engine.families import read_tokenizer
from calm_engine.figures import Figure

OF_CEILING, BESIDE_ONE, WAIT = 0.95, 3.0, 1.3
ROUNDS = 3  # processes of each side


def measure(folder: Path, scratch: Path, device: torch.device) -> Iterator[Figure]:
    """What a second composition costs, the torch engine, and vLLM where it is installed."""
    yield from sharing.measure(folder, scratch)
    anchor = load_anchor(folder, device)
    yield from blocks.measure(anchor.config, device)
    model = new_composition(anchor)
    ceiling = size(anchor) / size(model)
    yield Figure("serving.ceiling", ceiling, "ratio", "the anchor's bytes among all that are read")
    whole = scratch / "together"
    model.save_pretrained(whole, tokenizer=read_tokenizer(folder), self_contained=True)
    del anchor, model
    yield from _on_torch(whole, device, ceiling)
    if find_spec("vllm") is not None:
        yield from _figures("vllm", bursts.on_vllm(whole), ceiling, least=OF_CEILING)


def _on_torch(whole: Path, device: torch.device, ceiling: float) -> Iterator[Figure]:
    """The ceiling is asked of vLLM; the default engine is to be far better than no batches."""
    told = [{side: _apart(side, whole, device) for side in bursts.SIDES} for _ in range(ROUNDS)]
    yield from _figures("torch", told[-1]["together"], ceiling, least=None)
    times = ratio(*([one[side]["seconds"] for one in told] for side in reversed(bursts.SIDES)))
    against = f"the time of {bursts.JUDGED} calls of `generate`, one after the other"
    yield Figure("serving.torch.beside_one_by_one", times, "times", against, BESIDE_ONE, True)


def _apart(side: str, whole: Path, device: torch.device) -> dict[str, float]:
    return in_a_process("calm_engine.bench.bursts", side, whole, device.type)


def _figures(
    engine: str, told: Mapping[str, float], ceiling: float, *, least: float | None
) -> Iterator[Figure]:
    for count in bursts.AT_ONCE:
        name, found = f"serving.{engine}.at_once_{count}", told[f"rate_{count}"]
        yield Figure(name, found, "ratio", "tokens a second of the bare anchor, same engine")
        against = "weight-byte ceiling"
        yield Figure(f"{name}.of_ceiling", found / ceiling, "ratio", against, least, True)
    against = f"the bare anchor's wait for the first token, p95 at {bursts.JUDGED}"
    yield Figure(f"serving.{engine}.first_token", told["wait"], "ratio", against, WAIT, False)
