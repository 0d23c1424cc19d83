"""A step of composing beside a step of LoRA: same anchor, same batch, as many trained parameters.

Each side runs in a process of its own, so that its largest memory is its own. LoRA is `peft`'s on
the query and value projections, its rank chosen for the number of parameters, and its loss is the
model's own (LoRA: arXiv 2106.09685). Knows no data: what is read does not matter for speed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calm_engine.bench.apart import in_a_process
from calm_engine.bench.figures import ratio
from calm_engine.bench.models import load_anchor, new_composition, trained
from calm_engine.compose import say
from calm_engine.data import pad_right
from calm_engine.figures import Figure
from calm_engine.frozen import FrozenStates
from calm_engine.loop import Schedule, steps
from calm_engine.optimizers import optimizer_of
from calm_engine.process import most_memory, threads

ROWS, TOKENS, SAID = 16, 64, 16  # sequences of a batch, their tokens, those that are to be said
TAKEN, ROUNDS = 6, 3  # steps that are timed in a process, after two; processes of each side
LORA = ("q_proj", "v_proj")
SIDES = ("composition", "lora")


def measure(folder: Path, device: torch.device) -> Iterator[Figure]:
    """Time and the largest memory of a step, as shares of LoRA's."""
    told = [{side: _apart(side, folder, device) for side in SIDES} for _ in range(ROUNDS)]
    ours, theirs = ([one[side] for one in told] for side in SIDES)
    against = "a peft LoRA step, same anchor, batch and trained parameters"
    count = ours[0]["trained"] / theirs[0]["trained"]
    yield Figure("training.trained_parameters", count, "ratio", against)
    for what, bar in (("seconds", 0.85), ("memory", 0.9)):
        found = ratio([one[what] for one in ours], [one[what] for one in theirs])
        yield Figure(f"training.{what}", found, "ratio", against, bar)


def _apart(side: str, folder: Path, device: torch.device) -> dict[str, float]:
    return in_a_process("calm_engine.bench.training", side, folder, device.type)


def one_side(side: str, folder: Path, device: torch.device) -> dict[str, float]:
    """Seconds of a step, the largest memory in bytes, and what is trained."""
    torch.set_num_threads(threads())
    with tempfile.TemporaryDirectory() as scratch:
        make = _composition if side == "composition" else _lora
        named, loss = make(folder, device, Path(scratch))
        schedule = Schedule(TAKEN + 2, 1e-4)
        seconds = []
        for _ in steps(named, optimizer_of(named), lambda _step: [loss()], schedule):
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.monotonic())
    return {
        "seconds": (seconds[-1] - seconds[1]) / TAKEN,
        "memory": _most_memory(device),
        "trained": sum(parameter.numel() for _, parameter in named),
    }


Side = tuple[list[tuple[str, torch.nn.Parameter]], Callable[[], Tensor]]


def _composition(folder: Path, device: torch.device, scratch: Path) -> Side:
    """As `compose` takes it: frozen states kept, slopes from the first connection upwards."""
    model = new_composition(load_anchor(folder, device))
    model.train()
    rows = [(row, TOKENS - SAID) for row in _rows(model.config.vocab_size)]
    kept = FrozenStates(model, (), rows, scratch, pad=0)
    batch = pad_right(rows, pad=0)
    every = list(range(ROWS))
    return model.trainable_parameters(), lambda: say(model, (), batch, kept.batch(every))


def _lora(folder: Path, device: torch.device, _scratch: Path) -> Side:
    """`peft` as its own examples use it."""
    import peft  # noqa: PLC0415  a part of the bench alone

    anchor = load_anchor(folder, device)
    wanted = trained(new_composition(anchor))
    config: Any = anchor.config
    wide = 2 * config.hidden_size + config.head_dim * (
        config.num_attention_heads + config.num_key_value_heads
    )
    rank = round(wanted / (config.num_hidden_layers * wide))
    told = peft.LoraConfig(r=rank, target_modules=list(LORA), task_type="CAUSAL_LM")
    model: Any = peft.get_peft_model(anchor, told)
    model.train()
    ids = torch.tensor(_rows(config.vocab_size), device=device)
    labels = ids.clone()
    labels[:, : TOKENS - SAID] = -100
    named = [(name, it) for name, it in model.named_parameters() if it.requires_grad]
    return named, lambda: model(input_ids=ids, labels=labels).loss


def _rows(vocabulary: int) -> list[list[int]]:
    source = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, (ROWS, TOKENS), generator=source).tolist()


def _most_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return float(most_memory())


if __name__ == "__main__":
    print(json.dumps(one_side(sys.argv[1], Path(sys.argv[2]), torch.device(sys.argv[3]))))
