"""The engine: two frozen models joined by trained bridges. Knows no tenant, queue or database.

The names below are loaded when they are first used (PEP 562): importing the package, or its nouns
in `calm_engine.specs` and `calm_engine.errors`, loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calm_engine.config import CalmConfig
    from calm_engine.joining import detach, side_by_side
    from calm_engine.modeling import CalmForCausalLM
    from calm_engine.specs import BridgeSpec

__all__ = ["BridgeSpec", "CalmConfig", "CalmForCausalLM", "detach", "side_by_side"]

_HOME = {
    "BridgeSpec": "calm_engine.specs",
    "CalmConfig": "calm_engine.config",
    "CalmForCausalLM": "calm_engine.modeling",
    "detach": "calm_engine.joining",
    "side_by_side": "calm_engine.joining",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
