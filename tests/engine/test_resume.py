"""Stopped, killed or torn: a training that resumes ends where one that never stopped ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from calm_engine import process
from calm_engine.augment import augment
from calm_engine.compose import compose
from calm_engine.errors import Cancelled
from calm_engine.specs import Outcome, Progress, TrainSpec
from tests.engine.learning import drain, make_augment, make_compose

ROOT = Path(__file__).parents[2]
Verb = Callable[[Any], Generator[Progress, None, Outcome]]

KINDS = pytest.mark.parametrize(
    ("verb", "make"), [(augment, make_augment), (compose, make_compose)], ids=["augment", "compose"]
)


def weights(folder: str) -> dict[str, torch.Tensor]:
    return {
        k: v
        for path in sorted(Path(folder).glob("*.safetensors"))
        for k, v in load_file(path).items()
    }


def same(left: str, right: str) -> bool:
    one, two = weights(left), weights(right)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def stop_after(run: Generator[Progress, None, Outcome], step: int) -> None:
    """Follow a run until it has told of this step, then leave it as a crash would."""
    for progress in run:
        if progress.stage == "train" and progress.step >= step:
            run.close()
            return
    raise AssertionError("the run ended before it could be stopped")


def without_a_break(verb: Verb, spec: TrainSpec, folder: Path) -> str:
    _, outcome = drain(verb(replace(spec, output=str(folder), work=None)))
    return outcome.folder


@KINDS
def test_resumed_equals_never_stopped(
    verb: Verb, make: Callable[[Path], TrainSpec], tmp_path: Path
) -> None:
    spec = make(tmp_path)
    whole = without_a_break(verb, spec, tmp_path / "whole")
    stop_after(verb(spec), 4)
    assert not Path(spec.output).exists()
    news, outcome = drain(verb(spec))
    assert next(p.step for p in news if p.stage == "train") == 4
    assert same(outcome.folder, whole)


@KINDS
def test_a_torn_checkpoint_is_passed_over(
    verb: Verb, make: Callable[[Path], TrainSpec], tmp_path: Path
) -> None:
    spec = make(tmp_path)
    whole = without_a_break(verb, spec, tmp_path / "whole")
    stop_after(verb(spec), 4)
    newest = max(Path(f"{spec.output}.work").glob("step-*"))
    torn = next(newest.glob("*.safetensors"))
    torn.write_bytes(torn.read_bytes()[:-9])
    news, outcome = drain(verb(spec))
    assert next(p.step for p in news if p.stage == "train") == 2
    assert same(outcome.folder, whole)


def test_a_checkpoint_of_another_spec_is_not_taken(tmp_path: Path) -> None:
    spec = make_compose(tmp_path)
    stop_after(compose(spec), 4)
    news, _ = drain(compose(replace(spec, seed=5)))
    assert "resumed" not in " ".join(progress.message for progress in news)


def test_only_so_many_checkpoints_are_kept(tmp_path: Path) -> None:
    spec = make_compose(tmp_path)
    drain(compose(spec))
    assert len(list(Path(f"{spec.output}.work").glob("step-*"))) == spec.keep_checkpoints


def test_asked_to_stop_it_stops_at_a_checkpoint_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_compose(tmp_path)
    whole = without_a_break(compose, spec, tmp_path / "whole")
    monkeypatch.setattr(process, "STOPPER", process.Stopper())
    process.STOPPER.ask()
    with pytest.raises(Cancelled):
        drain(compose(spec))
    process.STOPPER.clear()
    assert same(drain(compose(spec))[1].folder, whole)


def test_killed_in_the_middle_it_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    # One thread: sums in another order differ in their last bits.
    spec = replace(make_augment(tmp_path, steps=60), width=96, threads=1)
    whole = without_a_break(augment, spec, tmp_path / "whole")
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()), encoding="utf-8")
    work = Path(f"{spec.output}.work")
    child = launch(tmp_path)
    deadline = time.monotonic() + 240
    while not list(work.glob("step-*")):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not Path(spec.output).exists()
    child = launch(tmp_path)
    _, told = child.communicate(timeout=240)
    assert child.returncode == 0, told
    assert same(spec.output, whole)
    assert not list(tmp_path.glob(".augmenter.*"))  # nothing half written is left


def launch(folder: Path) -> subprocess.Popen[str]:
    files = ["--spec", str(folder / "spec.json"), "--events", str(folder / "events.jsonl")]
    command = [sys.executable, "-m", "calm_engine", "augment", *files]
    return subprocess.Popen(
        [*command, "--epoch", "1", "--parent-pid", str(os.getpid())],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_scratch_lies_where_it_is_told(tmp_path: Path) -> None:
    spec = replace(make_compose(tmp_path), work=str(tmp_path / "scratch"))
    drain(compose(spec))
    assert list((tmp_path / "scratch").glob("step-*"))
    shutil.rmtree(tmp_path / "scratch")
