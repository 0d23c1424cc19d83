"""The states of a run and the moves between them. Knows no database.

queued -> running -> succeeded | failed | cancelled; running -> queued when a worker is drained
or lost; failed or cancelled -> queued when a person runs it again. A wish to cancel is a timestamp,
and "silent" is computed from the heartbeat: neither is a state.
"""

from __future__ import annotations

from django.db.models import TextChoices


class Kind(TextChoices):
    AUGMENT = "augment", "Augmenter"
    COMPOSE = "compose", "Composition"
    EVALUATE = "evaluate", "Evaluation"
    ESTIMATE = "estimate", "Dry run"  # a few steps of a plan's trainings, measured and left


class State(TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class Cause(TextChoices):
    """Why a run failed, and so whose turn it is."""

    MEMORY = "memory", "Not enough memory"
    NAN = "nan", "The training diverged"
    DISK = "disk", "The disk was full"
    LOST = "lost", "The machine or its worker was lost"
    DATA = "data", "Something in what was given"
    OURS = "ours", "A fault of the product"


class Control(TextChoices):
    """What stands in place of the augmenter: itself, or random weights of the same shape."""

    NONE = "none", "The augmenter itself"
    RANDOM = "random", "Random augmenter"


ACTIVE = (State.QUEUED, State.RUNNING)
FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
