"""The demo's own sums and words; the road itself is walked in tests/end_to_end and `demo-check`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from apps.demo import road, seeds
from apps.demo.figures import Question, from_cells, missed, of_card, share_right
from apps.demo.road import people
from apps.demo.terminal import Stage, duration
from apps.evaluation.models import Report

GOOD = {
    "composition": 0.97,
    "private_times_public": 0.9,
    "chat": 1.0,
    "api": 1.0,
    "anchor": 0.0,
    "random_augmenter": 0.05,
    "seconds": 600,
    "peak_rss_mb": 4000,
}


def cell(column: str, kind: str, where: str, value: float, n: int) -> dict[str, object]:
    return {"column": column, "kind": kind, "slice": where, "value": value, "n": n}


def test_accuracies_are_pooled_by_the_questions_asked() -> None:
    cells = [
        cell("composition", "recall", "unseen_entity", 1.0, 30),
        cell("composition", "recall", "unseen_value", 0.5, 10),
        cell("composition", "recall", "seen", 0.0, 100),
    ]
    assert from_cells(cells) == {"composition": 0.875}


def test_a_run_is_followed_for_as_long_as_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report card takes hours on one core: that is no reason to give it up."""
    monkeypatch.setattr(road, "STANDING", 0.2)
    monkeypatch.setattr(road, "POLL", 0.05)
    steps = iter([*range(12), *[12] * 100])
    seen = list(road.following(lambda: next(steps), lambda step: step))
    assert seen[:12] == list(range(12))
    assert 2 <= seen.count(12) <= 10


def test_figures_within_their_bars_miss_nothing() -> None:
    assert missed(GOOD) == []


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_figure_that_was_not_measured_is_missed(name: str) -> None:
    left = {key: value for key, value in GOOD.items() if key != name}
    assert len(missed(left)) == 1
    assert name in missed(left)[0]


def test_a_random_augmenter_that_answers_is_missed() -> None:
    assert len(missed(GOOD | {"random_augmenter": 0.5})) == 1


def test_a_card_with_rivals_has_bars_of_its_own_and_none_on_time() -> None:
    kinds = ("recall", "private_times_public")
    places = [(kind, part) for kind in kinds for part in ("unseen_entity", "unseen_value")]
    shares = {"composition": 0.96, "scrambled": 0.1, "anchor_rag": 0.5, "composition_rag": 0.96}
    edited = [(f"counterfactual:{kind}", part) for kind, part in places]
    report = Report(
        cells=[
            *(cell(name, *place, value, 50) for name, value in shares.items() for place in places),
            *(cell("swapped", *place, 0.1, 50) for place in places),
            *(cell("swapped", *place, 0.94, 50) for place in edited),
            cell("composition", "general", "public", 0.9, 100),
            cell("anchor", "general", "public", 0.9, 100),
        ],
        figures={
            "attribution": [
                {"kind": "recall", "slice": "unseen_entity", "value": 1.0, "low": 0.95},
                {"kind": "recall", "slice": "unseen_value", "value": 0.92, "low": 0.75},
                {"kind": "recall", "slice": "seen", "value": 0.1, "low": 0.1},
            ]
        },
    )
    found = GOOD | {"seconds": 5000} | of_card(report)
    assert (found["scrambled_recall"], found["public_lost"]) == (0.1, 0.0)
    assert (found["attribution"], found["attribution_low"]) == (0.92, 0.75)
    assert (found["edits_followed"], found["mismatched"]) == (0.94, 0.1)
    assert found["reading_gained"] == 0.46
    (short,) = missed(found, with_rivals=True)
    assert short.startswith("attribution_low is 0.75")


def test_an_answer_is_right_when_it_says_what_was_expected() -> None:
    asked = [Question("Where?", "Peru", "recall", "unseen_entity")] * 2
    answers = iter(["It is made in Peru.", "Chile"])
    assert share_right(asked, lambda _question: next(answers)) == 0.5


def test_passwords_are_drawn_once_and_kept_from_others(tmp_path: Path) -> None:
    first, again = people(tmp_path), people(tmp_path)
    assert first == again
    assert len({person.password for person in first.values()}) == 3
    assert (tmp_path / "demo" / "people.json").stat().st_mode & 0o077 == 0


def test_a_stage_tells_its_progress_and_its_end() -> None:
    out = io.StringIO()
    with Stage(1, 2, "Read", out) as stage:
        stage.written = -100.0  # long ago: a log is written every ten seconds
        stage.show(5, 10, "files", 65)
    told = out.getvalue()
    assert "[1/2] Read" in told
    assert "5/10" in told
    assert "1 min 05 s left" in told
    assert "done in" in told


def test_durations_are_words() -> None:
    assert [duration(s) for s in (4, 65, 3700)] == ["4 s", "1 min 05 s", "1 h 01 min"]


def test_seeds_stand_side_by_side_and_one_that_misses_a_bar_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert seeds.main(tmp_path, [1]) == 1  # nothing was measured
    for seed, missed_bars in ((2, []), (1, [])):
        told = {"figures": {"seed": seed, "recall": seed / 4}, "missed": missed_bars}
        seeds.kept_in(tmp_path, seed).write_text(json.dumps(told))
    capsys.readouterr()
    assert seeds.main(tmp_path, [1, 2]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "| figure | seed 1 | seed 2 | mean |"
    assert "| recall | 0.25 | 0.5 | 0.375 |" in out
    assert json.loads(out[-1])["seed"] == 2
    assert seeds.main(tmp_path, [1, 2, 3]) == 1
    assert "seed 3 did not come to its end" in capsys.readouterr().out
    told = {"figures": {"seed": 3}, "missed": ["recall is missing, at least 0.9 is wanted"]}
    seeds.kept_in(tmp_path, 3).write_text(json.dumps(told))
    assert seeds.main(tmp_path, [1, 2, 3]) == 1
    assert "missed by seed 3: recall is missing" in capsys.readouterr().out
