"""In parts, by several processes, in short numbers: what is learned is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calm_engine.augment import augment
from calm_engine.compose import compose
from calm_engine.errors import InputError
from calm_engine.estimation import estimate
from calm_engine.specs import TrainSpec
from tests.engine.learning import drain, make_augment, make_compose
from tests.engine.test_resume import KINDS, Verb, weights

ROOT = Path(__file__).parents[2]


def close(left: str, right: str) -> None:
    one, two = weights(left), weights(right)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-4, rtol=1e-3)


@KINDS
def test_a_batch_in_parts_teaches_what_the_whole_batch_teaches(
    verb: Verb, make: Callable[[Path], TrainSpec], tmp_path: Path
) -> None:
    spec = make(tmp_path)
    whole = drain(verb(spec))[1]
    parts = replace(spec, output=str(tmp_path / "parts"), gradient_accumulation_steps=2)
    close(drain(verb(parts))[1].folder, whole.folder)


def test_a_batch_that_cannot_be_cut_into_equal_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        replace(make_compose(tmp_path), gradient_accumulation_steps=3)
    assert told.value.facts["fields"] == "batch_size, gradient_accumulation_steps"


@KINDS
def test_in_bfloat16_the_loss_falls_and_what_is_trained_stays_float32(
    verb: Verb, make: Callable[..., TrainSpec], tmp_path: Path
) -> None:
    spec = replace(make(tmp_path, steps=40), precision="bfloat16")
    news, outcome = drain(verb(spec))
    first = next(p.metrics["loss"] for p in news if p.stage == "train")
    assert outcome.metrics["loss"] < first
    assert {held.dtype for held in weights(outcome.folder).values()} == {torch.float32}


def test_layers_run_again_for_their_slopes_give_the_same_weights(tmp_path: Path) -> None:
    spec = make_compose(tmp_path)
    whole = drain(compose(spec))[1]
    again = replace(spec, output=str(tmp_path / "again"), gradient_checkpointing=True)
    close(drain(compose(again))[1].folder, whole.folder)


def test_the_loss_on_what_is_not_learned_is_told(tmp_path: Path) -> None:
    spec = make_compose(tmp_path)
    row = json.loads(Path(spec.examples).read_text(encoding="utf-8").splitlines()[0])
    other = tmp_path / "held_out.jsonl"
    other.write_text(json.dumps(row | {"answer": "Iceland"}), encoding="utf-8")
    news, outcome = drain(compose(replace(spec, held_out=str(other))))
    told = [p.metrics["held_out_loss"] for p in news if "held_out_loss" in p.metrics]
    assert len(told) == 3  # at every checkpoint
    assert outcome.metrics["held_out_loss"] == told[-1] > 0


def test_a_newborn_has_gained_nothing_and_moved_no_public_text(tmp_path: Path) -> None:
    spec = make_compose(tmp_path, steps=1)
    still = replace(spec, held_out=spec.examples, learning_rate=1e-12, checkpoint_every=1)
    told = drain(compose(still))[1].metrics
    assert told["gain_over_anchor"] == pytest.approx(0.0, abs=1e-4)
    assert told["general_loss"] == pytest.approx(0.0, abs=1e-4)


def in_two_processes(spec: TrainSpec, verb: Verb, folder: Path) -> None:
    """Train so, and leave what was told in `events.jsonl`."""
    (folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    told_to = ["--standalone", "--module", "calm_engine", verb.__name__, "--epoch", "1"]
    files = ["--spec", str(folder / "spec.json"), "--events", str(folder / "events.jsonl")]
    done = subprocess.run(
        [*torchrun, *told_to, *files, "--parent-pid", str(os.getpid())],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@KINDS
@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_learn_together_what_one_learns_alone(
    verb: Verb, make: Callable[[Path], TrainSpec], shard: bool, tmp_path: Path
) -> None:
    spec = make(tmp_path)
    alone = drain(verb(spec))[1]
    both = replace(spec, output=str(tmp_path / "both"))
    if verb is compose:
        both = replace(both, shard_anchor=shard)
    elif shard:
        both = replace(both, gradient_accumulation_steps=2, shard_model=True)
    in_two_processes(both, verb, tmp_path)
    close(both.output, alone.folder)
    events = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in events]
    assert [one["type"] for one in told].count("outcome") == 1  # the first alone tells
    steps = [one["step"] for one in told if one.get("stage") == "train"]
    assert steps == sorted(set(steps))


def test_two_processes_turn_parts_of_matrices_as_one_turns_the_whole(tmp_path: Path) -> None:
    spec = replace(make_augment(tmp_path), optimizer="muon")
    alone = drain(augment(spec))[1]
    both = replace(spec, output=str(tmp_path / "both"), shard_model=True)
    in_two_processes(both, augment, tmp_path)
    close(both.output, alone.folder)


@KINDS
def test_an_estimate_tells_steps_and_disk_as_they_then_are(
    verb: Verb, make: Callable[[Path], TrainSpec], tmp_path: Path
) -> None:
    spec = make(tmp_path)
    told = estimate(spec)  # type: ignore[arg-type]
    assert not Path(spec.output).exists()
    assert not Path(f"{spec.output}.work").exists()
    _, outcome = drain(verb(spec))
    held = [Path(outcome.folder), *Path(f"{spec.output}.work").glob("step-*")]
    disk = sum(f.stat().st_size for folder in held for f in folder.rglob("*") if f.is_file())
    assert told.steps == outcome.facts["steps"]
    assert told.seconds > 0
    assert told.memory_bytes > 0
    assert 0.75 * disk < told.disk_bytes < 1.25 * disk + 2**20
