"""The engine's nouns cost nothing: torch is loaded when a verb is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import calm_engine

PROBE = """
import sys
import calm_engine, calm_engine.specs, calm_engine.errors, calm_engine.digests
assert calm_engine.BridgeSpec is calm_engine.specs.BridgeSpec
assert "CalmForCausalLM" in dir(calm_engine)
loaded = [name for name in ("torch", "transformers", "numpy") if name in sys.modules]
assert not loaded, loaded
"""


def test_importing_the_engine_loads_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_names_lead_to_the_classes() -> None:
    from calm_engine.config import CalmConfig  # noqa: PLC0415  loads torch: what is tested
    from calm_engine.modeling import CalmForCausalLM  # noqa: PLC0415

    assert calm_engine.CalmConfig is CalmConfig
    assert calm_engine.CalmForCausalLM is CalmForCausalLM


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="CalmForEverything"):
        _ = calm_engine.CalmForEverything
