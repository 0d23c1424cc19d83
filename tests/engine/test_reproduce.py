"""The key-value task holds its laws, the table says what was counted, and the quick form passes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from calm_engine.cli import main
from calm_engine.data import chance_of, encode
from calm_engine.digests import weights_digest
from calm_engine.errors import InputError
from calm_engine.reproduce.bridges import Length, compose, ends_of_keys, example, handing_loss
from calm_engine.reproduce.course import Course, batch_of
from calm_engine.reproduce.key_value import (
    DIRECT,
    KEY_VALUE,
    NUMERIC,
    SHARE,
    SUBSTITUTION,
    Expression,
    Lesson,
    Question,
    make_keys,
    masked,
    of_keys,
    of_numbers,
    questions,
)
from calm_engine.reproduce.language import NUMBERS, make_tokenizer, spelled, value
from calm_engine.reproduce.parents import (
    FEW,
    Deck,
    Shape,
    anchor_course,
    augmenter_lesson,
    met,
    newborn,
)
from calm_engine.reproduce.run import Form, reproduce
from calm_engine.reproduce.table import (
    ANCHOR,
    AUGMENTER,
    COLUMNS,
    COMPOSED,
    PAPER,
    RANDOM,
    Cell,
    Table,
    Wanted,
)

SMALL = Shape(width=32, layers=2, heads=2, steps=10, peak=1e-3)


def some_expressions(count: int = 300) -> list[Expression]:
    chance, keys = chance_of(7), make_keys(1, 200).all
    return [of_keys(chance, chance.sample(keys, 3)) for _ in range(count)]


# -- keys ------------------------------------------------------------------------------------------


def test_a_fifth_of_the_keys_is_for_the_bridges_and_no_key_is_on_both_sides() -> None:
    keys = make_keys(1, 1000)
    assert len(keys.all) == 1000
    assert len(keys.seen) == SHARE * 1000
    assert {key.name for key in keys.seen}.isdisjoint(key.name for key in keys.held_out)


def test_no_key_begins_with_another() -> None:
    names = sorted(key.name for key in make_keys(1, 1000).all)
    # A word that begins with another stands right behind it, or behind one that does as well.
    assert [b for a, b in pairwise(names) if b.startswith(a)] == []


def test_keys_are_a_function_of_the_seed() -> None:
    assert make_keys(1, 100) == make_keys(1, 100)
    assert make_keys(1, 100) != make_keys(2, 100)


# -- what is taught --------------------------------------------------------------------------------


def test_the_examples_of_the_bridges_name_no_held_out_key() -> None:
    keys, chance = make_keys(1, 300), chance_of(3)
    told = [name for _ in range(500) for name in example(chance, keys.seen, 3).told]
    words = {name for name in told if name.isalpha()}
    assert words == {key.name for key in keys.seen}
    assert words.isdisjoint(key.name for key in keys.held_out)


def test_the_augmenter_is_never_told_the_value_of_an_expression() -> None:
    keys = make_keys(1, 200).all
    for i in range(300):
        chance = chance_of(i)
        one = augmenter_lesson(chance, chance.sample(keys, 3))
        assert one.said.rpartition("=")[2] in ("", one.said)


def test_every_key_is_dealt_once_before_any_comes_again() -> None:
    keys = make_keys(1, 60).all
    deck = Deck(keys, seed=1)
    dealt = [key for number in range(12) for key in deck.hand(number, 10)]
    assert sorted(key.name for key in dealt[:60]) == sorted(key.name for key in keys)
    assert sorted(key.name for key in dealt[60:]) == sorted(key.name for key in keys)


def test_few_keys_come_first_then_more_and_in_time_all() -> None:
    known = [met(step, 1000, 4000) for step in range(1000)]
    assert known[0] == known[99] == FEW
    assert known == sorted(known)
    assert set(known[600:]) == {4000}
    assert {met(step, 1000, 200) for step in range(1000)} == {200}


# -- what is right ---------------------------------------------------------------------------------


def test_the_expected_value_is_that_of_the_expression() -> None:
    for one in some_expressions():
        wanted = eval(one.plain)  # noqa: S307 - another way than the one under test
        assert one.digits == " ".join(reversed(f"{wanted:03d}"))
        assert one.computed().said == one.digits


def test_no_value_is_below_zero_or_longer_than_its_digits() -> None:
    values = [value(one.numbers, one.signs) for one in some_expressions()]
    assert 0 <= min(values) <= max(values) < 1000


def test_the_numbers_told_are_those_of_the_keys() -> None:
    keys = {key.name: key.number for key in make_keys(1, 200).all}
    for one in some_expressions():
        assert one.substituted().said == one.plain
        assert [keys[name] for name in one.told] == list(one.numbers)


def test_a_stated_answer_is_judged_by_its_value_and_a_plain_one_whole() -> None:
    stated = Question("ab + cd ?", "9 1 0", is_stated=True)
    assert stated.is_answered_by("12 + 7 = 9 1 0")
    assert not stated.is_answered_by("12 + 7 = 9 1 1")
    plain = Question("ab + cd =", "9 1 0")
    assert plain.is_answered_by("9 1 0")
    assert not plain.is_answered_by("12 + 7 = 9 1 0")


def test_the_questions_name_only_held_out_keys() -> None:
    keys = make_keys(1, 300)
    asked = questions(1, 50, keys.held_out, 3)
    names = {word for one in asked[KEY_VALUE] for word in one.prompt.split() if word.isalpha()}
    assert names <= {key.name for key in keys.held_out}
    assert {len(rows) for rows in asked.values()} == {50}
    assert [one.expected for one in asked[KEY_VALUE]] == [one.expected for one in asked[DIRECT]]


# -- the language ----------------------------------------------------------------------------------


def test_a_letter_a_number_and_a_sign_are_one_token_each_and_come_back() -> None:
    tokenizer = make_tokenizer()
    ids = encode(tokenizer, "abc + x 41 - 7 =")
    assert len(ids) == 9
    assert tokenizer.decode(ids) == "a b c + x 41 - 7 ="
    assert len({tuple(encode(tokenizer, str(number))) for number in range(NUMBERS)}) == NUMBERS


def test_digits_are_told_with_the_lowest_first() -> None:
    assert spelled(18) == "8 1 0"


def test_the_ends_of_keys_are_where_their_last_letters_stand() -> None:
    tokenizer, chance = make_tokenizer(), chance_of(5)
    keys = make_keys(1, 100).all
    mixed = [of_keys(chance, chance.sample(keys, 3)) for _ in range(40)]
    mixed += [masked(chance, of_numbers(chance, 3)) for _ in range(40)]
    for one in mixed:
        words = tokenizer.convert_ids_to_tokens(encode(tokenizer, one.asked("=")))
        ends = dict(ends_of_keys(one))
        wanted = [at for at, (a, b) in enumerate(pairwise(words)) if a.isalpha() and b in "+-="]
        assert sorted(ends) == wanted
        told = zip(one.told, one.numbers, strict=True)
        assert list(ends.values()) == [number for name, number in told if name.isalpha()]
    assert list(ends_of_keys(of_numbers(chance, 3, filler=1.0))) == []


def test_what_is_given_is_not_to_be_said() -> None:
    tokenizer = make_tokenizer()
    batch = batch_of([Lesson("ab =", "9 1 0"), Lesson("a", "7", ends=False)], tokenizer)
    end = tokenizer.eos_token_id
    assert batch.labels[0].tolist() == [-100, -100, -100, *encode(tokenizer, "9 1 0"), end]
    assert batch.labels[1].tolist()[:3] == [-100, *encode(tokenizer, "7"), -100]


# -- handing over ----------------------------------------------------------------------------------


def test_a_newborn_bridge_hands_nothing_over_and_changes_no_plain_number() -> None:
    tokenizer = make_tokenizer()
    model = compose(newborn(SMALL, tokenizer, 1), newborn(SMALL, tokenizer, 2), layers=2, seed=1)
    chance = chance_of(2)
    plain = [of_numbers(chance, 3, filler=0.5) for _ in range(8)]
    keyed = [of_keys(chance, make_keys(1, 20).all[:3]) for _ in range(8)]
    with torch.no_grad():
        assert float(handing_loss(model, plain, tokenizer)) == 0.0
        assert float(handing_loss(model, keyed, tokenizer)) > 0.5


# -- a training ------------------------------------------------------------------------------------


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_engine.reproduce.course.KEPT", 2)

    def taught(work: Path, *, until: int | None = None) -> Course:
        course = anchor_course(SMALL, 1, 2)

        def loss_at(step: int) -> torch.Tensor:
            if step == until:
                raise KeyboardInterrupt
            return course.loss_at(step)

        list(replace(course, loss_at=loss_at).taken(work))
        return course

    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path / "stopped", until=5)
    again, never = taught(tmp_path / "stopped"), taught(tmp_path / "never")
    for (name, one), (_, other) in zip(again.named, never.named, strict=True):
        assert torch.equal(one, other), name


# -- the table -------------------------------------------------------------------------------------

WANTED = Wanted(key_value=90.0, substitution=95.0, lost=1.0, parents=2.0, random=5.0)


def a_table(**right: int) -> Table:
    """A table that meets all bars, but for right answers of key-value arithmetic that are told."""
    found = {
        SUBSTITUTION: {AUGMENTER: 98, ANCHOR: 0, COMPOSED: 97, RANDOM: 1},
        NUMERIC: {AUGMENTER: 1, ANCHOR: 99, COMPOSED: 98, RANDOM: 99},
        KEY_VALUE: {AUGMENTER: 0, ANCHOR: 1, COMPOSED: 93, RANDOM: 2} | right,
        DIRECT: {AUGMENTER: 0, ANCHOR: 0, COMPOSED: 10, RANDOM: 1},
    }
    return Table([Cell(t, c, n, 100) for t, row in found.items() for c, n in row.items()])


def test_all_bars_are_met_by_a_good_table_and_each_miss_is_named() -> None:
    assert [bar.name for bar in a_table().bars(WANTED) if not bar.is_met] == []
    for column in COLUMNS:
        worse = a_table(**{column: 50})
        missed = [bar.name for bar in worse.bars(WANTED) if not bar.is_met]
        assert missed == [f"{KEY_VALUE}, {column}"]


def test_a_bar_is_one_json_object_a_line() -> None:
    for bar in a_table().bars(WANTED):
        told = json.loads(bar.as_json())
        assert list(told) == ["name", "value", "unit", "against", "bar", "ok"]


def test_the_table_shows_every_cell_with_its_interval_and_the_papers_beside() -> None:
    text = "\n".join(a_table().lines())
    assert "93.0 (86.3-96.6)" in text
    assert "n = 100 " in text
    for row in PAPER.values():
        assert all(str(figure) in text for figure in row.values())


# -- the command -----------------------------------------------------------------------------------


def test_a_folder_that_is_not_empty_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["reproduce", "key-value", "--quick", "--output", str(tmp_path)]) == 2
    assert "already something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_begun_again_it_goes_on_with_the_models_that_are_whole(tmp_path: Path) -> None:
    tiny = Form(
        keys=60,
        operands=2,
        anchor=Shape(width=32, layers=2, heads=2, steps=3, peak=1e-3),
        augmenter=SMALL,
        bridges=Length(handing=2, saying=2),
        questions=4,
        wanted=WANTED,
    )
    first = reproduce(tiny, 1, tmp_path, print)
    digests = {path: weights_digest(path) for path in tmp_path.iterdir() if path.is_dir()}
    shutil.rmtree(tmp_path / "composition")
    again = reproduce(tiny, 1, tmp_path, print)
    assert list(again.lines()) == list(first.lines())
    assert {path: weights_digest(path) for path in digests} == digests
    with pytest.raises(InputError, match=r"output\.exists"):
        reproduce(tiny, 2, tmp_path, print)


@pytest.mark.parametrize("wrong", [["paper"], ["key-value", "--seed", "-1"], []])
def test_wrong_words_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["reproduce", *wrong])
    assert ending.value.code == 2


def run(*flags: str) -> list[dict[str, object]]:
    """The JSON lines of a run that must meet all its bars."""
    command = [sys.executable, "-m", "calm_engine.cli", "reproduce", "key-value", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_the_quick_form_meets_its_bars_and_keeps_the_models(tmp_path: Path) -> None:
    bars = run("--quick", "--output", str(tmp_path / "kept"))
    assert all(bar["ok"] for bar in bars)
    kept = {"anchor", "augmenter", "composition", "random-augmenter", "stranger"}
    assert {path.name for path in (tmp_path / "kept").iterdir() if path.is_dir()} == kept
