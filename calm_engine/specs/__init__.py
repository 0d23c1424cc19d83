"""The nouns of the engine: what to do, how far it is, what came out. Standard library only.

Every spec is frozen, refuses bad combinations by naming the fields that clash, and goes through
JSON without loss: a run of the platform and a file in an engineer's hand are the same thing.
"""

from __future__ import annotations

from calm_engine.specs.asking import COLUMNS, EvaluateSpec, ExamplesSpec
from calm_engine.specs.base import Spec
from calm_engine.specs.bridge import BridgeSpec, Connection
from calm_engine.specs.news import Estimate, Outcome, Progress
from calm_engine.specs.training import (
    EVERYDAY,
    LATER,
    NOT_THE_WORK,
    OPTIMIZERS,
    OURS,
    ROUNDS_MOST,
    STUDIED,
    AugmentSpec,
    ComposeSpec,
    TrainSpec,
    TrialSpec,
)

__all__ = [
    "COLUMNS",
    "EVERYDAY",
    "LATER",
    "NOT_THE_WORK",
    "OPTIMIZERS",
    "OURS",
    "ROUNDS_MOST",
    "STUDIED",
    "AugmentSpec",
    "BridgeSpec",
    "ComposeSpec",
    "Connection",
    "Estimate",
    "EvaluateSpec",
    "ExamplesSpec",
    "Outcome",
    "Progress",
    "Spec",
    "TrainSpec",
    "TrialSpec",
]
