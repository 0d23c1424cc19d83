"""When to stop by knowledge: once recall has stopped rising, the rate falls and the run ends.

A function of the looks so far, which travel with the checkpoints: a resumed run stops where an
undisturbed one would. Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from calm_engine.loop import Schedule

Looks = Sequence[Sequence[float]]  # (step, recall) of each look, oldest first

RISE = 0.005  # less is none: half a point
CHANCE = 0.01  # a look asks some hundred questions: one of them more or less tells nothing
BEGUN = 0.1  # below this, recall has not begun to rise


def best_of(looks: Looks) -> int | None:
    """The step of the best look: the last of those that are equal but for chance."""
    most = max((recall for _, recall in looks), default=0.0)
    good = [step for step, recall in looks if recall >= most - CHANCE]
    return int(good[-1]) if good else None


def stopped_at(looks: Looks, patience: int) -> int | None:
    """The step of the look at which so many had passed without a rise; None while it rises."""
    best, since = 0.0, 0
    for step, recall in looks:
        best, since = (recall, 0) if recall >= best + RISE else (best, since + 1)
        if patience and best >= BEGUN and since >= patience:
            return int(step)
    return None


def wound_up(schedule: Schedule, looks: Looks, patience: int) -> Schedule:
    """The schedule that is left: from a plateau on, its fall begins at once.

    The flat stretch of a warm-up-stable-decay schedule may end at any step (arXiv 2404.06395), and
    facts that the flat rate still shakes settle only in the fall: so a run is not cut off.
    """
    at = stopped_at(looks, patience)
    steps = schedule.steps if at is None else math.ceil(at / (1 - schedule.decay))
    return schedule if steps >= schedule.steps else replace(schedule, steps=steps)
