"""Reading and writing beside the anchor alone, against what bytes and arithmetic allow.

A token's time is the time to read all weights once, so the ceiling of decoding is the anchor's
share of all bytes that are read; of prefill it is the anchor's share of all multiplications.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from calm_engine.bench.figures import ratio
from calm_engine.bench.models import load_anchor, new_composition, size, trained
from calm_engine.figures import Figure
from calm_engine.modeling import CalmForCausalLM

BATCHES = (1, 8)
PROMPT, SAID = 64, 48  # tokens
LONG = 512  # tokens of a prompt for prefill
ROUNDS = 7
OF_CEILING = 0.95


def measure(folder: Path, device: torch.device) -> Iterator[Figure]:
    """Decode at each batch size and prefill, as shares of their ceilings."""
    anchor = load_anchor(folder, device)
    model = new_composition(anchor)
    ceiling = size(anchor) / size(model)  # the anchor's weights are among the composition's
    yield Figure("decode.ceiling", ceiling, "ratio", "the anchor's bytes among all that are read")
    for batch in BATCHES:
        found = _decoded(anchor, model, batch)
        yield Figure(
            f"decode.batch_{batch}", found, "ratio", "tokens per second of the anchor alone"
        )
        name = f"decode.batch_{batch}.of_ceiling"
        yield Figure(name, found / ceiling, "ratio", "weight-byte ceiling", OF_CEILING, True)
    found, ceiling = _prefilled(anchor, model), _prefill_ceiling(anchor, model)
    yield Figure("prefill.ceiling", ceiling, "ratio", "the anchor's multiplications among all")
    yield Figure("prefill", found, "ratio", "tokens per second of the anchor alone")
    yield Figure("prefill.of_ceiling", found / ceiling, "ratio", "FLOP ceiling", OF_CEILING, True)


def _decoded(anchor: PreTrainedModel, model: CalmForCausalLM, batch: int) -> float:
    ids = _random(anchor, batch, PROMPT)
    seconds = {one: _timed(anchor.device, _writer(one, ids)) for one in (anchor, model)}
    rounds = [{one: next(clock) for one, clock in seconds.items()} for _ in range(ROUNDS)]
    return ratio([r[anchor] for r in rounds], [r[model] for r in rounds])


def _prefilled(anchor: PreTrainedModel, model: CalmForCausalLM) -> float:
    ids = _random(anchor, 1, LONG)

    def reader(one: Any) -> Callable[[], object]:
        return lambda: one(ids, use_cache=True, logits_to_keep=1)

    seconds = {one: _timed(anchor.device, reader(one)) for one in (anchor, model)}
    rounds = [{one: next(clock) for one, clock in seconds.items()} for _ in range(ROUNDS)]
    return ratio([r[anchor] for r in rounds], [r[model] for r in rounds])


def _prefill_ceiling(anchor: PreTrainedModel, model: CalmForCausalLM) -> float:
    """Every weight but those of embeddings and heads meets every token; heads meet the last."""
    augmenter = cast("PreTrainedModel", model.augmenters[0])
    above, below = (size(one) - _table(one) for one in (anchor, augmenter))
    return above / (above + below + trained(model))


def _table(model: PreTrainedModel) -> int:
    """Parameters of the embedding and the head, a shared table counted once."""
    whole: Any = model
    tables = {whole.get_input_embeddings().weight, whole.get_output_embeddings().weight}
    return sum(int(one.numel()) for one in tables)


def _writer(model: Any, ids: torch.Tensor) -> Callable[[], object]:
    """One `generate` of a fixed number of tokens."""
    told = {"do_sample": False, "pad_token_id": 0, "max_new_tokens": SAID, "min_new_tokens": SAID}
    return lambda: model.generate(ids, **told)


def _timed(device: torch.device, act: Callable[[], object]) -> Iterator[float]:
    """Seconds of each call, the first one left out."""
    with torch.no_grad():
        act()
        while True:
            _settle(device)
            began = time.monotonic()
            act()
            _settle(device)
            yield time.monotonic() - began


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _random(model: PreTrainedModel, batch: int, tokens: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    shape = (batch, tokens)
    return torch.randint(model.config.vocab_size, shape, generator=source).to(model.device)
