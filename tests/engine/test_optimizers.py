"""How weights move: matrices by Muon as far in every direction, all else by AdamW."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from calm_engine import checkpoints
from calm_engine.augment import augment
from calm_engine.errors import InputError
from calm_engine.loop import Schedule, steps
from calm_engine.optimizers import AS_ADAM, Muon, Named, optimizer_of, orthogonal
from calm_engine.specs import AugmentSpec
from calm_engine.student import Student, turned_by
from calm_engine.training import work_folder
from tests.engine.learning import drain, make_augment
from tests.engine.test_training import close
from tests.tiny import make_model


@pytest.mark.parametrize("shape", [(24, 24), (24, 80), (80, 24)])
def test_a_matrix_is_turned_and_all_its_singular_values_come_near_one(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    given = torch.randn(shape) @ torch.diag(torch.logspace(0, -1.5, shape[1]))
    u, _, v = torch.linalg.svd(given, full_matrices=False)
    found = u.T @ orthogonal(given) @ v.T
    values = found.diagonal()
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (found - values.diag()).abs().max() < 1e-3


def test_nothing_stays_nothing() -> None:
    assert not orthogonal(torch.zeros(4, 6)).any()


def test_a_move_is_as_long_as_one_of_adamw() -> None:
    torch.manual_seed(0)
    matrix = nn.Parameter(torch.randn(64, 96))
    before = matrix.detach().clone()
    named = [("m", matrix), ("b", nn.Parameter(torch.zeros(1)))]
    optimizer = optimizer_of(named, decay=0.0, matrices=["m"])
    _set(optimizer, 0.01)
    matrix.grad = 1e-6 * torch.randn(64, 96)
    optimizer.step()
    moved = (matrix.detach() - before).square().mean().sqrt()
    assert float(moved) == pytest.approx(AS_ADAM * 0.01, rel=0.25)


def test_only_named_matrices_are_turned_and_one_rate_moves_all() -> None:
    named = _linear()
    optimizer = optimizer_of(named, matrices=["weight"])
    assert isinstance(optimizer, Muon)
    _set(optimizer, 0.0)
    before = [p.detach().clone() for _, p in named]
    _slope(named)
    optimizer.step()
    assert all(torch.equal(p, old) for (_, p), old in zip(named, before, strict=True))
    _set(optimizer, 0.1)
    optimizer.step()
    assert not any(torch.equal(p, old) for (_, p), old in zip(named, before, strict=True))
    assert set(optimizer.state[named[0][1]]) == {"momentum"}
    assert "exp_avg" in optimizer.state[named[1][1]]
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for _, p in named)


def test_its_moments_come_back_from_a_checkpoint_to_the_bit() -> None:
    torch.manual_seed(0)
    whole, broken = _linear(), _linear()
    checkpoints.unpack(checkpoints.pack(whole, optimizer_of(whole)), broken, optimizer_of(broken))
    first, second = (optimizer_of(n, matrices=["weight"]) for n in (whole, broken))
    for step in range(6):
        if step == 3:
            held = checkpoints.pack(broken, second)
            second = optimizer_of(broken, matrices=["weight"])
            checkpoints.unpack(held, broken, second)
        for named, optimizer in ((whole, first), (broken, second)):
            _set(optimizer, 0.01)
            _slope(named)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(whole, broken, strict=True))


def test_the_words_themselves_are_no_matrices_between_states() -> None:
    student = Student(make_model("llama", width=32, heads=2, positions=64, seed=1))
    named = turned_by(AugmentSpec(output="o", tokenizer="t", documents="d"), student)
    assert named
    assert all(name.startswith("model.layers.") for name in named)
    assert not any("embed" in name or "norm" in name for name in named)


def test_what_has_a_share_of_the_rate_moves_by_that_share() -> None:
    torch.manual_seed(0)
    named = _linear()
    before = [p.detach().clone() for _, p in named]
    optimizer = optimizer_of(named, decay=0.0, shares={"weight": 0.25})

    def losses_at(_step: int) -> list[Tensor]:
        return [sum((p.sum() for _, p in named), torch.zeros(()))]

    next(steps(named, optimizer, losses_at, Schedule(10, 1e-2, warmup=1)))
    weight, bias = ((p.detach() - old).abs() for (_, p), old in zip(named, before, strict=True))
    assert torch.allclose(weight, torch.full_like(weight, 0.25e-2), rtol=1e-3)
    assert torch.allclose(bias, torch.full_like(bias, 1e-2), rtol=1e-3)


# ---- which of them a training takes --------------------------------------------------------------


@pytest.mark.parametrize(("asked", "is_turned"), [("auto", True), ("muon", True), ("adamw", False)])
def test_a_training_takes_what_its_spec_says(asked: str, is_turned: bool, tmp_path: Path) -> None:
    spec = replace(make_augment(tmp_path, steps=2), optimizer=asked)
    assert _has_momentum(spec) is is_turned


def test_what_was_trained_before_goes_on_by_adamw_unless_it_is_told(tmp_path: Path) -> None:
    plain = make_augment(tmp_path, steps=2)
    base = replace(plain, base=plain.tokenizer, width=None, layers=None, heads=None)
    assert not _has_momentum(base)
    told = replace(base, optimizer="muon", output=str(tmp_path / "told"))
    assert _has_momentum(told)


def test_large_models_are_moved_as_published_ones_were() -> None:
    student = Student(make_model("llama", width=32, heads=2, positions=64, seed=1))
    spec = AugmentSpec(output="o", tokenizer="t", documents="d")
    assert turned_by(spec, student)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calm_engine.student.MUON_MOST", 1_000)
        assert not turned_by(spec, student)


def test_by_muon_a_batch_in_parts_teaches_what_the_whole_batch_teaches(tmp_path: Path) -> None:
    """Sums in bfloat16 would not: where few rows pull, rounding becomes a move of its own."""
    spec = replace(make_augment(tmp_path), optimizer="muon")
    parts = replace(spec, output=str(tmp_path / "parts"), gradient_accumulation_steps=2)
    close(drain(augment(parts))[1].folder, drain(augment(spec))[1].folder)


def test_by_muon_it_knows_more_after_as_many_steps(tmp_path: Path) -> None:
    spec = replace(make_augment(tmp_path, steps=60), width=48, learning_rate=1e-2)
    known = {}
    for each in ("muon", "adamw"):
        asked = replace(spec, optimizer=each, output=str(tmp_path / each))
        known[each] = drain(augment(asked))[1].metrics["known"]
    assert known["muon"] > known["adamw"]


def test_another_optimizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        replace(make_augment(tmp_path), optimizer="sgd")
    assert "optimizer" in str(caught.value)


def _has_momentum(spec: AugmentSpec) -> bool:
    drain(augment(spec))
    found = checkpoints.newest(work_folder(spec))
    assert found is not None
    return any(name.startswith("momentum.") for name in found.tensors)


def _linear() -> Named:
    return list(nn.Linear(6, 8).named_parameters())


def _slope(named: Named) -> None:
    """The same slopes for the same weights."""
    torch.stack([(p * p).sum() + p.sum() for _, p in named]).sum().backward()


def _set(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
