"""The bridge's options side by side: all forms train, results are kept, the table is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calm_engine.cli import main
from calm_engine.reproduce import as_composed
from calm_engine.reproduce.key_value import make_keys
from calm_engine.reproduce.language import make_tokenizer
from calm_engine.reproduce.options import OPTIONS, Option, compared, lines, named
from calm_engine.reproduce.parents import Shape, newborn
from calm_engine.reproduce.table import ANCHOR, AUGMENTER
from calm_engine.specs import ComposeSpec, Progress

KEYS, OPERANDS = 40, 2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parents that know nothing: what is tested is the table."""
    folder = tmp_path_factory.mktemp("models")
    for name, layers, seed in ((ANCHOR, 5, 1), (AUGMENTER, 4, 2), ("other", 4, 3)):
        shape = Shape(width=32, layers=layers, heads=2, steps=1, peak=1e-3)
        newborn(shape, make_tokenizer(), seed).save_pretrained(folder / name)
        make_tokenizer().save_pretrained(folder / name)
    return folder


def a_task(models: Path, folder: Path) -> ComposeSpec:
    base = as_composed.write_task(models, folder, keys=KEYS, operands=OPERANDS, seed=1)
    return replace(base, steps=1, batch_size=4, threads=1, device="cpu")


def silent(_: Progress) -> None:
    """Nobody listens."""


def test_every_option_trains_is_asked_and_has_its_row(models: Path, tmp_path: Path) -> None:
    base, other = a_task(models, tmp_path), models / "other"
    questions = tmp_path / as_composed.QUESTIONS
    rows = questions.read_text().splitlines()[:6]
    questions.write_text("\n".join(rows) + "\n")
    found = list(compared(base, questions, tmp_path, seeds=[1], tell=silent, mismatched=other))
    assert [one.option for one in found] == [option.name for option in OPTIONS]
    table = list(lines(found))
    assert len(table) == 2 + len(OPTIONS) + 2
    assert len({row.count("|") for row in table[: 2 + len(OPTIONS)]}) == 1
    by_name = {one.option: one for one in found}
    assert by_name["one key/value head"].cache < by_name["default"].cache
    assert by_name["attention alone"].parameters < by_name["default"].parameters


def test_a_table_that_was_stopped_goes_on(models: Path, tmp_path: Path) -> None:
    base = a_task(models, tmp_path)
    questions = tmp_path / as_composed.QUESTIONS
    questions.write_text("\n".join(questions.read_text().splitlines()[:3]) + "\n")
    heard: list[str] = []

    def tell(progress: Progress) -> None:
        heard.append(progress.stage)

    options = named(["no gate"])
    whole = list(compared(base, questions, tmp_path, seeds=[1], tell=tell, options=options))
    assert heard
    heard.clear()
    again = list(compared(base, questions, tmp_path, seeds=[1], tell=tell, options=options))
    assert not heard
    assert again == whole


def test_examples_are_of_the_bridges_keys_and_questions_of_all_others(
    models: Path, tmp_path: Path
) -> None:
    a_task(models, tmp_path)
    split = make_keys(1, KEYS)
    for name, keys in (("examples.jsonl", split.seen), (as_composed.QUESTIONS, split.held_out)):
        rows = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        words = {w for row in rows if row["kind"] != "plain" for w in row["entity"].split()}
        assert words <= {key.name for key in keys}
        assert {row["kind"] for row in rows} == {"plain", "substitution", "stated"}


def test_an_option_longer_takes_more_steps_and_its_own_bridge(tmp_path: Path) -> None:
    base = ComposeSpec(output="o", anchor="a", augmenters=("b",), examples="e", steps=5)
    option = Option("x", {"aligned": False}, longer=4)
    spec = option.spec(base, 7, tmp_path, tmp_path)
    assert (spec.steps, spec.seed, spec.bridge.aligned) == (20, 7, False)
    strange = Option("y", control="mismatched").spec(base, 7, tmp_path, tmp_path / "other")
    assert strange.augmenters == (str(tmp_path / "other"),)


@pytest.mark.parametrize(
    "wrong",
    [["--compose", "spec.json"], ["--key-value", "models", "--only", "no such"]],
)
def test_wrong_flags_are_refused_in_a_sentence(
    wrong: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(
        json.dumps({"output": "o", "anchor": "a", "augmenters": ["b"], "examples": "e"})
    )
    assert main(["reproduce", "options", *wrong, "--output", "out"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("calm: ")
    assert "Traceback" not in told
