"""How large a model a corpus wants, how fast it learns and how much at once. Arithmetic alone.

A parameter holds about 2 bits of knowledge after a thousand exposures and 1 after a hundred
(Physics of Language Models 3.3, arXiv 2404.05405); between and beside them we go by the logarithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Bits that a corpus asks for. The paper counts the choice of each name and value; 40 bits are two
# such choices among a million each. For text we assume 4 a token: at that, our trials' size of
# model is the one proposed for the corpora that it was seen to hold.
BITS_OF_A_FACT = 40
BITS_OF_A_TOKEN = 4
LEAST_BITS, MOST_BITS = 0.25, 2.0  # of a parameter


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama-like decoder, with half as many key and value heads as heads."""

    width: int
    layers: int
    heads: int

    @property
    def parameters(self) -> int:
        """Of its layers; the words' own come on top and are shared with the head."""
        return self.layers * (3 * self.width**2 + 3 * self.width * feed_width(self.width))


SHAPES = (
    Shape(256, 4, 4),
    Shape(384, 6, 6),
    Shape(512, 8, 8),
    Shape(768, 12, 12),
    Shape(1024, 16, 16),
    Shape(1536, 24, 16),
    Shape(2048, 24, 16),
    Shape(3072, 28, 24),
    Shape(3584, 30, 28),
)

# (parameters up to which it holds, peak learning rate, packed rows of a step)
PACES = (
    (40_000_000, 2e-3, 6),
    (150_000_000, 6e-4, 16),
    (500_000_000, 3e-4, 32),
    (1_500_000_000, 2e-4, 64),
    (math.inf, 1.6e-4, 128),
)
MUON_MOST = PACES[0][0]  # parameters up to which we measured that Muon gains; see `optimizers`
ONWARDS = 3e-4  # highest rate of a model that has learned before


def feed_width(width: int) -> int:
    """Width of the middle of a layer: eight thirds, in whole sixteens."""
    return max(16, width * 8 // 3 // 16 * 16)


def bits_of_a_parameter(exposures: int) -> float:
    """What a parameter holds of facts that were met so often."""
    told = 1.0 + math.log10(max(1, exposures) / 100)
    return min(MOST_BITS, max(LEAST_BITS, told))


@dataclass(frozen=True)
class Proposal:
    """A size, and why.

    needed, held   bits: of the corpus, and of the model's layers at these exposures
    """

    shape: Shape
    needed: float
    held: float
    why: str


def propose(*, tokens: int, facts: int, exposures: int) -> Proposal:
    """The smallest shape whose layers hold the corpus, and what a step to either side would mean.

    exposures   how often each piece of it is met
    """
    needed = float(max(BITS_OF_A_TOKEN * tokens, BITS_OF_A_FACT * facts))
    each = bits_of_a_parameter(exposures)
    fitting = (at for at, shape in enumerate(SHAPES) if each * shape.parameters >= needed)
    at = next(fitting, len(SHAPES) - 1)
    shape = SHAPES[at]
    why = (
        f"The corpus has {tokens:,} tokens and {facts:,} facts that were found, together about"
        f" {needed / 1e6:.1f} million bits. Met {exposures} times, a parameter holds about"
        f" {each:.2f} bits, so {needed / each / 1e6:.1f} million parameters are wanted: width"
        f" {shape.width} with {shape.layers} layers has {shape.parameters / 1e6:.1f} million."
    )
    if at:
        less = each * SHAPES[at - 1].parameters / needed
        why += f" The next smaller size would hold about {100 * less:.0f} % of it."
    if at + 1 < len(SHAPES):
        times = SHAPES[at + 1].parameters / shape.parameters
        why += f" The next larger would take about {times:.1f} times as long a step."
    if each * shape.parameters < needed:
        why += " No size that we propose holds all of it: split the corpus."
    return Proposal(shape, needed, each * shape.parameters, why)


@dataclass(frozen=True)
class Choice:
    """A size beside the proposed one.

    held   how many times the corpus would go into its layers; 1: just so
    pace   parameters of its layers against the proposed one's: so much longer takes a step
    """

    shape: Shape
    held: float
    pace: float


def choices(*, tokens: int, facts: int, exposures: int) -> dict[str, Choice]:
    """The "proposed" size and its neighbours, where there are any: "smaller", "larger"."""
    made = propose(tokens=tokens, facts=facts, exposures=exposures)
    at, each = SHAPES.index(made.shape), bits_of_a_parameter(exposures)
    return {
        name: Choice(
            SHAPES[n],
            each * SHAPES[n].parameters / max(1.0, made.needed),
            SHAPES[n].parameters / made.shape.parameters,
        )
        for name, n in (("smaller", at - 1), ("proposed", at), ("larger", at + 1))
        if 0 <= n < len(SHAPES)
    }


def rate_for(parameters: int, *, onwards: bool = False) -> float:
    """Peak learning rate.

    Below 40M parameters by our own trials: small models take and need more than large ones. Above,
    what models of that size were trained with: 6e-4 at 125M and 160M, 3e-4 at 350M and 410M, 2e-4
    at 1.3B and 1.4B, 1.6e-4 at 2.7B (GPT-3, arXiv 2005.14165, table 2.1; Pythia, arXiv 2304.01373).

    onwards   from weights that have learned: at most 3e-4, as long runs of Active Reading took, and
              half of what a small model took from nothing
    """
    rate = next(rate for most, rate, _ in PACES if parameters <= most)
    if not onwards:
        return rate
    return rate / 2 if parameters <= PACES[0][0] else min(rate, ONWARDS)


def rows_for(parameters: int) -> int:
    """Packed rows of a step: 6 of 400 tokens by our own trials, more for larger models.

    Published runs take 0.5M tokens a step at these sizes (the sources of `rate_for`); a company's
    corpus would then be over in a few steps, so ours stay near the batch at which a small loss
    still gains from every token (McCandlish et al., arXiv 1812.06162).
    """
    return next(rows for most, _, rows in PACES if parameters <= most)
