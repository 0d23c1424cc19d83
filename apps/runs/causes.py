"""Why a run failed, and what to do about it. Knows no row and no page: an error and a spec go in.

What only makes the same work fit (a batch in smaller parts) is safe and applied by itself; what
changes the result (a smaller learning rate) is proposed, and a person decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.runs.states import Cause
from calm_engine.errors import EngineError, InputError

CAUSES = {
    "memory.full": Cause.MEMORY,
    "memory.short": Cause.MEMORY,
    "run.same_step": Cause.MEMORY,  # what dies twice at one step mostly dies for memory
    "train.nan": Cause.NAN,
    "disk.full": Cause.DISK,
    "disk.checkpoints": Cause.DISK,
    "run.attempts": Cause.LOST,
}
LEAST_BATCH = 6  # the smallest that the engine chooses where none was asked for
CALMER_RATE = 5e-4  # a quarter of what the engine takes by itself for small models and bridges


@dataclass(frozen=True)
class Fix:
    """What to do next: a sentence, and the fields of the spec that it changes.

    is_safe   the result stays what it was: applied without asking, from the last checkpoint
    """

    text: str
    changes: dict[str, Any] = field(default_factory=dict)
    is_safe: bool = False


def cause_of(error: EngineError) -> Cause:
    """Whose turn it is after this error."""
    known = CAUSES.get(error.code)
    return known or (Cause.DATA if isinstance(error, InputError) else Cause.OURS)


def fix_for(cause: str, spec: Mapping[str, Any]) -> Fix:
    """What to do about a run of this spec that failed for this cause."""
    if cause == Cause.MEMORY:
        return _smaller(spec)
    if cause == Cause.NAN:
        return _calmer(spec)
    return Fix(WORDS.get(Cause(cause), WORDS[Cause.OURS]) if cause else WORDS[Cause.OURS])


WORDS = {
    Cause.DISK: "Free some space on the disk of the run folders, then run it again: it goes on "
    "from its last checkpoint.",
    Cause.LOST: "See whether the machine and its worker are well, then run it again: it goes on "
    "from its last checkpoint.",
    Cause.DATA: "Mend what was given, then start again.",
    Cause.OURS: "Run it again; if it fails once more, tell whoever looks after this installation.",
}


def _smaller(spec: Mapping[str, Any]) -> Fix:
    """The same batch in twice as many parts; for an evaluation, fewer questions at a time."""
    batch = int(spec.get("batch_size") or LEAST_BATCH)
    parts = int(spec.get("gradient_accumulation_steps", 1))
    if batch // parts <= 1:
        return Fix(
            "It already works on one example at a time. Choose a smaller model, shorter blocks, "
            "or a machine with more memory."
        )
    if "gradient_accumulation_steps" not in spec:
        half = batch // 2
        return Fix(f"Run it again with {half} questions at a time.", {"batch_size": half}, True)
    finer = next(n for n in range(2 * parts, batch + 1) if batch % n == 0)
    return Fix(
        f"Run it again with each batch in {finer} parts, one in memory at a time. "
        "The result stays the same; it takes a little longer.",
        {"gradient_accumulation_steps": finer},
        is_safe=True,
    )


def _calmer(spec: Mapping[str, Any]) -> Fix:
    rate = spec.get("learning_rate")
    calmer = float(rate) / 4 if rate else CALMER_RATE
    return Fix(
        f"Run it again with a learning rate of {calmer:g}. It starts from the beginning, because "
        "the steps so far were taken with the larger rate.",
        {"learning_rate": calmer},
    )
