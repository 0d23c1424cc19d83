"""A training stops by what is known, keeps the best of it, and nothing ignorant is composed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calm_engine import curriculum
from calm_engine.augment import augment, prepared
from calm_engine.compose import compose
from calm_engine.errors import Cancelled, InputError
from calm_engine.loop import Schedule
from calm_engine.ranks import ALONE, Ranks
from calm_engine.recall import DIRECT, INVERSE, Mark, Recall, chosen, require_recall, unknown_in
from calm_engine.rising import best_of, stopped_at, wound_up
from calm_engine.selfstudy import Lesson, Source, study
from calm_engine.specs import AugmentSpec
from calm_engine.training import Job, Probe, prepare, train
from calm_engine.wording import sentence
from tests.engine.learning import PLACES, drain, make_augment, make_compose
from tests.engine.test_augment_onwards import shuffled

PLAN = Schedule(steps=1000, peak=1e-3)


def looks(*recalls: float) -> list[tuple[int, float]]:
    return [(50 * (number + 1), recall) for number, recall in enumerate(recalls)]


@pytest.mark.parametrize(
    ("recalls", "stop"),
    [
        ((), None),
        ((0.0, 0.0, 0.0, 0.0, 0.0), None),  # it has not begun to rise
        ((0.1, 0.3, 0.5, 0.7), None),
        ((0.1, 0.9, 0.9, 0.9), 200),
        ((0.1, 0.9, 0.9, 0.902), 200),  # less than half a point is no rise
        ((0.1, 0.9, 0.9, 0.95, 0.95), None),
    ],
)
def test_recall_has_stopped_rising_after_so_many_looks(
    recalls: Sequence[float], stop: int | None
) -> None:
    assert stopped_at(looks(*recalls), patience=2) == stop
    assert stopped_at(looks(*recalls), patience=0) is None


def test_from_a_plateau_on_the_rate_falls_and_the_run_ends_sooner() -> None:
    left = wound_up(PLAN, looks(0.1, 0.9, 0.9, 0.9), patience=2)
    assert left.steps == 286
    assert left.rate(199) == pytest.approx(PLAN.peak, rel=0.01)
    assert left.rate(285) < 0.1 * PLAN.peak


def test_a_plateau_that_comes_when_the_rate_falls_anyhow_changes_nothing() -> None:
    late = [(750, 0.9), (800, 0.9), (850, 0.9)]
    assert wound_up(PLAN, late, patience=2) == PLAN


def job_of(spec: AugmentSpec, ranks: Ranks) -> Job:
    """What a spec comes to, ready to begin."""
    _, made = drain(prepared(spec, ranks))
    return made.job


def test_more_looks_never_move_the_end_that_was_decided() -> None:
    told = looks(0.1, 0.9, 0.9, 0.9, 0.9, 0.95)
    assert wound_up(PLAN, told, 2) == wound_up(PLAN, told[:4], 2)
    assert best_of(told) == 300


def test_the_best_is_the_last_of_those_that_chance_alone_tells_apart() -> None:
    assert best_of(looks(0.2, 1.0, 0.99, 0.995, 0.7)) == 200
    assert best_of(looks(0.0, 0.0)) == 100
    assert best_of(()) is None


def test_questions_are_spread_over_documents_and_directions() -> None:
    text = "Name,Made in\n" + "".join(f"Zo{n}r,Peru{n}\n" for n in range(40))
    few = "Name,Made in\nAlp,Mali\nBel,Chad\nCor,Togo\n"
    held_out = study([Source("big", "a", text), Source("small", "b", few)]).held_out
    kept = chosen(held_out, 16, seed=1)
    assert kept == chosen(held_out, 16, seed=1)
    assert sum(one.digest == "small" for one in kept) >= 6
    assert 4 <= sum(one.form in INVERSE for one in kept) <= 12
    assert len(chosen(held_out, 10**6, seed=1)) == len(held_out)


def mark(form: str, digest: str, *, right: bool) -> Mark:
    return Mark(Lesson(form, "q", "a", True, digest), right, "a")


def test_recall_is_told_by_direction_by_form_and_by_document() -> None:
    told = Recall(
        (
            mark("question", "d1", right=True),
            mark("cloze", "d1", right=False),
            mark("inverse", "d2", right=False),
        )
    )
    assert told.metrics() == {"recall": 0.5, "inverse_recall": 0.0, "known": pytest.approx(1 / 3)}
    assert told.by_form() == {"question": (1, 1), "cloze": (0, 1), "inverse": (0, 1)}
    assert unknown_in(told.by_document()) == [["d2", 0, 1], ["d1", 1, 2]]
    assert Recall(told.marks[:1]).share(INVERSE) is None
    assert Recall(told.marks[:1]).share(DIRECT) == 1.0


def test_the_augmenters_folder_says_what_it_knows(tmp_path: Path) -> None:
    news, outcome = drain(augment(make_augment(tmp_path)))
    told = json.loads((Path(outcome.folder) / "recall.json").read_text())
    assert sum(asked for _, asked in told["documents"].values()) == outcome.facts["asked"]
    assert set(told["forms"]) == {"question", "cloze", "inverse", "inverse cloze"}
    assert outcome.metrics["recall"] == told["recall"] < 1
    assert outcome.facts["unknown"][0][0] == "d1"
    assert outcome.facts["kinds"]["fact"] >= len(PLACES)
    looked = [one for one in news if "known" in one.metrics]
    assert [one.step for one in looked] == [2, 4, 6]
    assert all(one.metrics["exposures"] >= 1 for one in looked)
    assert 0 < len(looked[0].samples) <= 8
    assert looked[0].samples[0]["question"] == looked[-1].samples[0]["question"]


def test_an_augmenter_below_the_bar_is_not_composed(tmp_path: Path) -> None:
    _, outcome = drain(augment(make_augment(tmp_path)))
    spec = replace(make_compose(tmp_path / "two"), augmenters=(outcome.folder,), least_recall=0.9)
    with pytest.raises(InputError) as told:
        drain(compose(spec))
    assert told.value.code == "augmenter.recall"
    assert told.value.facts["least"] == "90"
    assert str(told.value.facts["documents"]).startswith("d1 (")
    assert "90 % are wanted" in sentence(told.value)
    assert not Path(spec.output).exists()


def test_of_a_corpus_in_shards_a_sample_is_asked_and_its_unknown_documents_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curriculum, "LOOKED_AT", 12)
    spec = replace(shuffled(tmp_path, monkeypatch), steps=4)
    _, outcome = drain(augment(spec))
    told = json.loads((Path(outcome.folder) / "recall.json").read_text())
    assert len(told["documents"]) == told["sampled"]["documents"] == 12
    assert told["sampled"]["of"] == 30
    assert told["sampled"]["low"] <= told["recall"] <= told["sampled"]["high"] <= 1
    assert outcome.facts["asked"] == sum(asked for _, asked in told["documents"].values())
    with pytest.raises(InputError, match=r"augmenter\.recall") as refused:
        require_recall(outcome.folder, 0.99)
    said = sentence(refused.value)
    assert f"{outcome.facts['unknown'][0][0]} (0/" in said
    assert "Asked were 12 of 30 documents, so that in all it may be 0 to 2" in said
    gone = next(iter(told["documents"]))
    lacking = replace(spec, forget=(gone,), output=str(tmp_path / "lacking"))
    _, without = drain(augment(lacking))
    assert gone not in {digest for digest, _, _ in without.facts["unknown"]}
    assert (without.facts["sampled"]["documents"], without.facts["sampled"]["of"]) == (11, 29)


def test_a_corpus_in_shards_never_stops_within_a_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(shuffled(tmp_path, monkeypatch), patience=2, checkpoint_every=1)
    ranks = prepare(spec)
    job, passes = job_of(spec, ranks), spec.passes
    assert passes is not None
    assert job.patience == job.schedule.steps // passes > 2
    assert job_of(replace(spec, checkpoint_every=50), ranks).patience == 2
    assert job_of(replace(spec, steps=9), ranks).patience == 0
    assert job.probe(0).metrics.keys() >= {"known", "recall", "exposures"}


def test_an_augmenter_that_nobody_measured_passes_only_a_bar_of_nought(tmp_path: Path) -> None:
    spec = make_compose(tmp_path)
    require_recall(spec.augmenters[0], 0.0)
    with pytest.raises(InputError, match=r"augmenter\.unmeasured"):
        require_recall(spec.augmenters[0], 0.1)


def test_what_was_known_best_is_what_is_kept(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    known = {2: 0.2, 4: 0.9, 6: 0.4, 8: 0.3}

    def losses_at(_step: int) -> list[Tensor]:
        return [parameter.sum()]

    seen: dict[int, Tensor] = {}

    def probe(step: int) -> Probe:
        seen[step] = parameter.detach().clone()
        return Probe({"known": known[step]})

    job = Job([("it", parameter)], losses_at, Schedule(8, 1e-2), probe, known_by="known")
    spec = replace(make_augment(tmp_path), work=str(tmp_path / "work"))
    news = list(train(job, spec, ALONE))
    assert torch.equal(parameter.detach(), seen[4])
    assert not torch.equal(seen[4], seen[8])
    assert news[-1].metrics == {"known": 0.9}


def test_a_resumed_run_ends_where_an_undisturbed_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps_of(folder: str, *, stop_at: int = 0) -> int:
        parameter = torch.nn.Parameter(torch.zeros(2))
        job = Job(
            [("it", parameter)],
            lambda _step: [parameter.sum()],
            Schedule(100, 1e-2),
            lambda _step: Probe({"known": 0.5}),
            known_by="known",
            patience=3,
        )
        spec = replace(make_augment(tmp_path), work=str(tmp_path / folder))
        last = 0
        monkeypatch.setattr("calm_engine.training.stop_requested", lambda: last == stop_at > 0)
        with contextlib.suppress(Cancelled):
            for told in train(job, spec, ALONE):
                last = told.step
        return last

    whole = steps_of("one")
    steps_of("two", stop_at=5)
    assert whole == steps_of("two") == 12
