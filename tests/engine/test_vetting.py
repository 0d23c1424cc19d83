"""A corpus or a machine that will not do is said before the first step."""

from __future__ import annotations

import json
import math
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calm_engine import fitting
from calm_engine.augment import augment
from calm_engine.errors import InputError
from calm_engine.loop import Schedule, steps
from calm_engine.optimizers import optimizer_of
from calm_engine.process import memory_limit
from calm_engine.vetting import Census, Script, check_census
from calm_engine.wording import sentence
from tests.engine.learning import drain, make_augment

LINES = [f"The valve of pump {n} opens at {n * 3} bar." for n in range(5000)]


def code_of(refusal: pytest.ExceptionInfo[InputError]) -> str:
    return refusal.value.code


def test_repeated_lines_are_told_from_many_lines() -> None:
    assert Census.of(LINES).distinct == pytest.approx(1.0, abs=0.1)
    assert Census.of(LINES * 4).distinct == pytest.approx(0.25, abs=0.03)
    assert Census.of(LINES[:10] * 400).distinct == pytest.approx(1 / 400)


def test_counting_in_parts_is_counting_the_whole() -> None:
    parts = Census.of(LINES[:2000]) + Census.of(LINES[1000:])
    assert parts == Census.of(LINES[:2000] + LINES[1000:])


def test_a_corpus_that_repeats_itself_is_refused() -> None:
    with pytest.raises(InputError) as told:
        check_census(100_000, Script(100_000, 400_000, 400_000), Census.of(LINES[:10] * 400))
    assert code_of(told) == "documents.repeated"


# Measured with SmolLM2's tokenizer: tokens of so many characters and bytes.
READ = {"English": (27, 149, 149), "Thai": (198, 105, 315), "Chinese": (72, 38, 114)}
READ |= {"Korean": (140, 67, 165), "English in bytes": (149, 149, 149)}


@pytest.mark.parametrize("language", READ)
def test_a_script_that_takes_some_tokens_a_letter_is_learned(language: str) -> None:
    Script(*READ[language]).check()


def test_a_script_that_falls_into_bytes_is_refused_with_what_was_measured() -> None:
    with pytest.raises(InputError) as told:
        check_census(30_000, Script(26_700, 9300, 26_970), Census())  # Burmese
    assert code_of(told) == "documents.shredded"
    said = sentence(told.value)
    assert "2.9 tokens for a character, 0.99 for a byte, where 0.9 may be" in said


@pytest.mark.parametrize("deal", ["rounds", "shuffled"])
def test_a_corpus_in_a_shredded_script_never_begins(tmp_path: Path, deal: str) -> None:
    spec = replace(make_augment(tmp_path), deal=deal)  # its tokenizer knows nothing but bytes
    row = {"digest": "d", "title": "t", "text": "วาล์วทุกตัวต้องปิดก่อนเปิดปั๊ม " * 20}
    Path(spec.documents).write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError) as told:
        drain(augment(spec))
    assert code_of(told) == "documents.shredded"
    assert not list(tmp_path.glob("augmenter.work/step-*"))


def test_a_corpus_of_a_few_words_is_refused(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    row = {"digest": "d", "text": "We meet on Mondays."}
    Path(spec.documents).write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError) as told:
        drain(augment(spec))
    assert code_of(told) == "documents.small"


def test_too_little_disk_for_two_checkpoints_is_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = namedtuple("disk", "total used free")(10**9, 10**9, 1000)
    monkeypatch.setattr(fitting.shutil, "disk_usage", lambda _path: disk)
    with pytest.raises(InputError) as told:
        drain(augment(make_augment(tmp_path)))
    assert code_of(told) == "disk.checkpoints"
    assert not list(tmp_path.glob("augmenter.work/step-*"))


def test_too_little_memory_is_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda _device: 10_000)
    spec = replace(make_augment(tmp_path), deal="shuffled")
    with pytest.raises(InputError) as told:
        drain(augment(spec))
    assert code_of(told) == "memory.short"
    assert not list(tmp_path.glob("augmenter.work/step-*"))


def test_what_rows_hold_is_told_from_one_and_two() -> None:
    weight = torch.nn.Parameter(torch.ones(50, 50))

    def trial(rows: int) -> Tensor:
        return ((torch.ones(rows, 50) @ weight).exp() ** 2).sum()

    held = [fitting._held(trial, rows) for rows in (1, 2, 8)]
    assert held[0] < held[1] < held[2]
    assert fitting.memory_needed(trial, 8) == held[2]


def test_a_control_group_leaves_what_it_has_not_given(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000", encoding="ascii")
    (tmp_path / "memory.current").write_text("900", encoding="ascii")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300\n", encoding="ascii")
    assert memory_limit(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max", encoding="ascii")
    assert memory_limit(tmp_path) is None


def test_a_loss_that_is_no_number_stops_and_leaves_the_weights() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    named = [("weight", weight)]

    def losses_at(step: int) -> list[Tensor]:
        return [weight.sum() * (math.nan if step == 2 else 1.0)]

    taking = steps(named, optimizer_of(named), losses_at, Schedule(5, 0.1))
    next(taking), next(taking)
    before = weight.detach().clone()
    with pytest.raises(Exception, match=r"train\.nan"):
        next(taking)
    assert torch.equal(weight.detach(), before)
