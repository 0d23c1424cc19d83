"""How large a model a corpus wants, how fast it learns and how much at once. Arithmetic alone."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama-like decoder."""

    width: int
    layers: int
    heads: int


# (tokens of text up to which it serves, its shape). Capacity is near 2 bits a parameter at a
# thousand exposures and 1 at a hundred (Physics of Language Models 3.3, arXiv 2404.05405).
SIZES = (
    (500_000, Shape(256, 4, 4)),
    (5_000_000, Shape(384, 6, 6)),
    (math.inf, Shape(768, 12, 12)),
)

# (parameters up to which it holds, peak learning rate, packed rows of a step)
PACES = (
    (40_000_000, 2e-3, 6),
    (150_000_000, 6e-4, 16),
    (500_000_000, 3e-4, 32),
    (1_500_000_000, 2e-4, 64),
    (math.inf, 1.6e-4, 128),
)


def shape_for(tokens: int) -> Shape:
    """The shape that serves a corpus of so many tokens."""
    return next(shape for most, shape in SIZES if tokens <= most)


def rate_for(parameters: int) -> float:
    """Peak learning rate of a model that starts from nothing.

    Below 40M parameters by our own trials: small models take and need more than large ones. Above,
    what models of that size were trained with: 6e-4 at 125M and 160M, 3e-4 at 350M and 410M, 2e-4
    at 1.3B and 1.4B, 1.6e-4 at 2.7B (GPT-3, arXiv 2005.14165, table 2.1; Pythia, arXiv 2304.01373).
    """
    return next(rate for most, rate, _ in PACES if parameters <= most)


def rows_for(parameters: int) -> int:
    """Packed rows of a step: 6 of 400 tokens by our own trials, more for larger models.

    Published runs take 0.5M tokens a step at these sizes (the sources of `rate_for`); a company's
    corpus would then be over in a few steps, so ours stay near the batch at which a small loss
    still gains from every token (McCandlish et al., arXiv 1812.06162).
    """
    return next(rows for most, _, rows in PACES if parameters <= most)
