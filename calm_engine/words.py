"""The loss of saying the right word, over a part of the vocabulary. Knows no corpus and no model.

A whole softmax over 49,152 tokens costs more than a small model itself. Source: importance-sampled
softmax (Jean et al., arXiv 1412.2007), the negatives drawn evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NEGATIVES = 4096  # tokens besides the candidates that the loss is normalised over


@dataclass(frozen=True)
class Candidates:
    """The tokens that a step's loss is normalised over.

    tokens      (count,) ids, each once: all that may be wanted, then a sample of the others
    correction  (count,) added to their logits, so that the sample stands for all it was drawn from
    place       (vocabulary,) where each token stands in `tokens`, -1 where it does not
    """

    tokens: Tensor
    correction: Tensor
    place: Tensor


class Words:
    """A vocabulary, in which some tokens may be wanted and all others are only ever wrong."""

    def __init__(self, own: Tensor, vocabulary: int, *, seed: int) -> None:
        is_own = torch.zeros(vocabulary, dtype=torch.bool)
        is_own[own] = True
        self.own = own
        self.others = torch.arange(vocabulary)[~is_own]
        self.place = torch.full((vocabulary,), -1)
        self.place[own] = torch.arange(len(own))
        self.seed = seed

    def candidates(self, step: int) -> Candidates:
        """Those of one step: a function of the seed and the step."""
        count = min(NEGATIVES, len(self.others))
        chance = torch.Generator().manual_seed(1_000_003 * self.seed + step)
        drawn = torch.randint(max(1, len(self.others)), (count,), generator=chance)
        tokens = torch.cat((self.own, self.others[drawn])) if count else self.own
        correction = torch.zeros(len(tokens))
        if count:
            correction[len(self.own) :] = math.log(len(self.others) / count)
        return Candidates(tokens, correction, self.place)


def loss_over(hidden: Tensor, head: Tensor, wanted: Tensor, among: Candidates) -> Tensor:
    """Mean cross-entropy in nats.

    hidden (said, width), head (vocabulary, width), wanted (said,)
    """
    logits = functional.linear(hidden, head[among.tokens.to(head.device)]).float()
    logits = logits + among.correction.to(logits.device)
    return functional.cross_entropy(logits, among.place[wanted].to(logits.device))
