"""Killed twenty times at random moments, a training ends with the weights of one left alone."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from calm_engine.augment import augment
from calm_engine.data import chance_of
from calm_engine.specs import AugmentSpec
from tests.engine.learning import make_augment
from tests.engine.test_resume import launch, same, without_a_break
from tests.engine.test_shards import corpus_at

KILLS, FIRST_STEPS = 20, 240.0  # seconds within which a start must have trained


def in_rounds(folder: Path) -> AugmentSpec:
    return make_augment(folder, steps=2000)


def from_shards(folder: Path) -> AugmentSpec:
    spec = replace(make_augment(folder, steps=2000), deal="shuffled", passes=200)
    corpus_at(Path(spec.documents), documents=200)
    return spec


def killed(child: subprocess.Popen[str], work: Path, chance: random.Random) -> bool:
    """Kill it some time after it has gone on; whether it was still at work."""
    before = {path.name for path in work.glob("step-*")}
    deadline = time.monotonic() + FIRST_STEPS
    while {path.name for path in work.glob("step-*")} == before and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(chance.random() * 0.3)
    is_working = child.poll() is None
    child.send_signal(chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
    child.communicate()
    return is_working


@pytest.mark.slow
@pytest.mark.parametrize("make", [in_rounds, from_shards])
def test_killed_twenty_times_it_ends_as_if_left_alone(
    make: Callable[[Path], AugmentSpec], tmp_path: Path
) -> None:
    # One thread: sums in another order differ in their last bits.
    spec = replace(make(tmp_path), width=64, threads=1, checkpoint_every=10)
    whole = without_a_break(augment, spec, tmp_path / "whole")
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()), encoding="utf-8")
    work, chance = Path(f"{spec.output}.work"), chance_of("kills")
    assert sum(killed(launch(tmp_path), work, chance) for _ in range(KILLS)) == KILLS
    last = launch(tmp_path)
    _, told = last.communicate(timeout=600)
    assert last.returncode == 0, told
    assert same(spec.output, whole)
