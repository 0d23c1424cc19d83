"""What a run says: how far it is, what came out, what it will need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from calm_engine.specs.base import Spec


@dataclass(frozen=True)
class Progress(Spec):
    """One step of news from a run.

    stage    what is being done, a word: "data", "train", "probe", "save", "evaluate"
    step, total   counted from 0; total 0 means not known yet
    metrics  numbers by name: loss, tokens_per_second, recall ...
    samples  a few fixed questions and today's answers: corpus text, shown only to the audience
    eta_seconds   time left from the measured rate, or None while measuring
    """

    stage: str
    step: int = 0
    total: int = 0
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    samples: tuple[dict[str, str], ...] = ()
    eta_seconds: float | None = None


@dataclass(frozen=True)
class Outcome(Spec):
    """What came out of a run: a folder that is whole, its digest, and its figures.

    digest    of the folder's manifest (SHA-256 over the sorted names and digests of its files)
    parents   digest of each parent's weights by role: {"anchor": ..., "augmenter_0": ...}
    """

    kind: str
    folder: str
    digest: str
    parents: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate(Spec):
    """What a run will need, measured by a dry run on the real device.

    memory_bytes, device_memory_bytes   at most, of the machine and of the accelerator
    disk_bytes   at most: what is kept while it runs, checkpoints and the result
    why          a sentence for people: why a model of this size, and what more or less would mean
    bridges      what the bridges' training needs that follows it, where that was tried as well; its
                 memory of the machine is then the most that either took
    """

    seconds: float
    memory_bytes: int
    disk_bytes: int
    steps: int = 0
    device_memory_bytes: int = 0
    why: str = ""
    bridges: Estimate | None = None
