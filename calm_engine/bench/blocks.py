"""A step's attention over a cache in one rectangle, and over one in blocks that torch must gather.

Plain torch reads keys in one piece: of blocks that lie anywhere it makes that piece at every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig

from calm_engine.figures import Figure

LENGTHS = (64, 128, 192, 256, 384, 512, 768, 1024)  # of rows that are answered together
BLOCK = 16  # tokens
ROUNDS = 15


def measure(config: PretrainedConfig, device: torch.device) -> Iterator[Figure]:
    """config   of the anchor: its layers and heads."""
    shape = (config.num_key_value_heads, config.hidden_size // config.num_attention_heads)
    queries, layers = config.num_attention_heads, config.num_hidden_layers
    steps = [_rectangle(queries, *shape, device), _blocks(queries, *shape, device)]
    taken: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for step, seconds in zip(steps, taken, strict=True):
            seconds.append(_seconds(step, layers, device))
    ratio = median(b / a for a, b in zip(*taken, strict=True))
    told = "a step's attention over one rectangle"
    yield Figure("serving.cache.gathered_blocks", ratio, "ratio", told)
    wide = len(LENGTHS) * max(LENGTHS) / sum(LENGTHS)
    yield Figure("serving.cache.rectangle", wide, "ratio", "tokens that these rows really have")


def _seconds(step: Callable[[], Tensor], layers: int, device: torch.device) -> float:
    began = time.perf_counter()
    for _ in range(layers):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _rectangle(queries: int, heads: int, width: int, device: torch.device) -> Callable[[], Tensor]:
    """As the cache does it: the new token is put behind the others, which copies them."""
    rows, longest = len(LENGTHS), max(LENGTHS)
    keys, values = torch.randn(2, rows, heads, longest - 1, width, device=device)
    new = torch.randn(rows, heads, 1, width, device=device)
    asked, mask = _asked(queries, width, device)

    def step() -> Tensor:
        key, value = (torch.cat([one, new], dim=2) for one in (keys, values))
        return functional.scaled_dot_product_attention(asked, key, value, mask, enable_gqa=True)

    return step


def _blocks(queries: int, heads: int, width: int, device: torch.device) -> Callable[[], Tensor]:
    """The new token is written in place, then each row's blocks are put beside each other."""
    rows, count = len(LENGTHS), max(LENGTHS) // BLOCK
    keys, values = torch.randn(2, rows * count, BLOCK, heads, width, device=device)
    tables = torch.randperm(rows * count, device=device).view(rows, count)
    new = torch.randn(rows, heads, width, device=device)
    asked, mask = _asked(queries, width, device)

    def gathered(pool: Tensor) -> Tensor:
        pool[tables[:, -1], -1] = new
        return pool[tables].view(rows, count * BLOCK, heads, width).transpose(1, 2)

    def step() -> Tensor:
        key, value = gathered(keys), gathered(values)
        return functional.scaled_dot_product_attention(asked, key, value, mask, enable_gqa=True)

    return step


def _asked(queries: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The new token's queries, and which columns each row has: (rows, 1, 1, longest)."""
    columns = torch.arange(max(LENGTHS), device=device)
    lengths = torch.tensor(LENGTHS, device=device)
    seen = columns >= max(LENGTHS) - lengths[:, None]
    return torch.randn(len(LENGTHS), queries, 1, width, device=device), seen[:, None, None]
