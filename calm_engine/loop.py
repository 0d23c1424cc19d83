"""Steps of training. Knows nothing of saving, tenants, data or devices."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from calm_engine.errors import InternalError
from calm_engine.optimizers import Named
from calm_engine.ranks import ALONE, Ranks

LossesAt = Callable[[int], Iterable[Tensor]]

CLIP = 1.0  # largest norm of a step's gradient


@dataclass(frozen=True)
class Schedule:
    """The learning rate of each step: a function of its number, so there is nothing to resume.

    steps   optimiser steps in all
    peak    the highest rate
    warmup  steps until the peak
    decay   share of the steps at the end over which the rate of "wsd" falls
    form    "wsd": warm-up, a flat stretch, a linear decay (arXiv 2404.06395); "cosine": half a
            wave from the peak down (arXiv 1608.03983). Both end at a twentieth of the peak
    """

    steps: int
    peak: float
    warmup: int = 20
    decay: float = 0.3
    form: str = "wsd"

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        risen = min(1.0, (step + 1) / self.warmup)
        return self.peak * risen * (0.05 + 0.95 * self._left(step))

    def _left(self, step: int) -> float:
        """From 1 at the peak to 0 at the end."""
        if self.form == "cosine":
            gone = max(0.0, (step - self.warmup) / max(1, self.steps - self.warmup))
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, gone)))
        return min(1.0, (self.steps - step) / max(1.0, self.decay * self.steps))


@dataclass(frozen=True)
class Taken:
    """A step that was taken: how many there are now, its loss in nats, its seconds."""

    step: int
    loss: float
    seconds: float


def steps(
    named: Named,
    optimizer: Optimizer,
    losses_at: LossesAt,
    schedule: Schedule,
    *,
    ranks: Ranks = ALONE,
    start: int = 0,
) -> Iterator[Taken]:
    """Take the steps from `start` on, one at each demand; the caller does the rest in between.

    losses_at   the parts of a step's loss that are this process's, as a function of the step's
                number alone: a step that is taken again after a resume sees what it would have
                seen. Each part's graph is gone before the next is made; gradients add up
    Raises InternalError("train.nan") when a loss is not finite; the weights are then those before.
    """
    parameters = [parameter for _, parameter in named]
    for step in range(start, schedule.steps):
        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step) * group.get("share", 1.0)
        told = 0.0
        for loss in losses_at(step):
            told += float(loss.detach())
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        told = ranks.total(told)
        if not math.isfinite(told):
            optimizer.zero_grad(set_to_none=True)
            raise InternalError("train.nan", "the loss is not a number", step=step)
        ranks.sum_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield Taken(step + 1, told, time.monotonic() - began)
