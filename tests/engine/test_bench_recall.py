"""The measuring of what was learned: its corpora, its pictures, and what it refuses."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import pytest
import torch

from calm_engine.bench import knowledge, manual, teaching
from calm_engine.bench.__main__ import main
from calm_engine.bench.curves import HIGH, Curve, drawn
from calm_engine.bench.taught import Look, Taught
from calm_engine.capacity import Shape
from calm_engine.course import Course, plan
from calm_engine.errors import InputError
from calm_engine.process import most_memory
from calm_engine.recall import DIRECT, Mark, Recall
from calm_engine.selfstudy import Source, study
from calm_engine.specs import AugmentSpec
from tests.engine.learning import make_augment


def test_two_hundred_devices_have_five_facts_each_and_self_study_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "devices.jsonl"
    knowledge.write_documents(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = study([Source(row["digest"], row["title"], row["text"]) for row in rows]).found
    told = {(fact.entity, fact.attribute, fact.value) for fact in found}
    made = knowledge.devices()
    assert len({one["Name"] for one in made}) == 200
    for one in made:
        facts = {(one["Name"], key, value) for key, value in one.items() if key != "Name"}
        assert len(facts) == 5
        assert facts <= told
    assert made == knowledge.devices()


def test_a_folder_of_texts_packed_or_not_becomes_documents(tmp_path: Path) -> None:
    folder = tmp_path / "manual"
    folder.mkdir()
    (folder / "one.txt").write_text("The gate is open.")
    (folder / "two.txt.gz").write_bytes(gzip.compress(b"The door is shut."))
    (folder / "picture.png").write_bytes(b"no text")
    assert manual.write_documents(folder, tmp_path / "d.jsonl") == 34
    rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert [row["title"] for row in rows] == ["one", "two"]
    with pytest.raises(InputError, match=r"documents\.empty"):
        manual.write_documents(tmp_path / "nothing", tmp_path / "d.jsonl")


def test_raw_training_reads_every_passage_and_nothing_else(tmp_path: Path) -> None:
    course = plan(make_augment(tmp_path))
    raw = manual.text_alone(course)
    dealt = [p for batch in raw.batches_of(0, 6) for row in batch for p in row]
    assert len(dealt) == len(course.study.passages)
    assert not any(piece.is_asked for piece in raw.pieces())
    assert raw.study.held_out == course.study.held_out != ()


def test_both_models_of_a_manual_have_one_shape_and_one_question_at_least_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_augment(tmp_path)
    folder = tmp_path / "manual"
    folder.mkdir()
    table = "".join(f"Zo{n}r,Peru{n}\n" for n in range(12))
    (folder / "one.txt").write_text(f"Name,Made in\n{table}")
    asked: list[AugmentSpec] = []

    def train(spec: AugmentSpec, course: Course, questions: Any, *, seconds: float) -> Taught:
        asked.append(spec)
        marks = [Mark(one, len(asked) == 1, "") for one in questions]
        assert seconds == 1.0
        return Taught((Look(0.0, 0.0, 0.0), Look(1.0, 1.0, 1.0)), Recall(tuple(marks)), 9, 1, 1)

    monkeypatch.setattr(manual, "train", train)
    anchor = Path(spec.tokenizer)
    told = {
        one.name: one for one in manual.measure(anchor, folder, tmp_path, seconds=1.0, plot=None)
    }
    assert asked[0] == asked[1]
    assert asked[0].width is not None
    direct = sum(one.form in DIRECT for one in plan(asked[0]).study.held_out)
    assert told["manual.recall_over_raw"].value == direct > 0
    assert told["manual.recall_over_raw"].bar == 2.0


def test_a_large_model_takes_steps_in_bfloat16_and_its_sums_leave_unread_words_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_augment(tmp_path)
    monkeypatch.setattr(teaching, "LARGE", Shape(32, 2, 2))
    monkeypatch.setattr(teaching, "LARGE_ROWS", 2)
    monkeypatch.setattr(teaching, "TAKEN", 1)
    monkeypatch.setattr(teaching, "threads", lambda: 1)
    told = teaching.one_side("large", Path(spec.tokenizer), torch.device("cpu"))
    assert told["seconds"] > 0
    assert 500 < told["tokens"] <= 800
    words = json.loads((Path(spec.tokenizer) / "config.json").read_text())["vocab_size"]
    layers = told["weights"] - words * 32
    assert told["sums"] >= 6 * layers + 12 * 2 * 32 * 400


def test_the_memory_of_a_process_is_not_that_of_whoever_started_it(tmp_path: Path) -> None:
    held = bytearray(400 << 20)
    held[::4096] = b"x" * len(held[::4096])  # every page is really there
    ask = "from calm_engine.process import most_memory; print(most_memory())"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert 5 << 20 < int(done.stdout) < 300 << 20 < most_memory()
    assert len(held) == 400 << 20
    assert most_memory(tmp_path / "nowhere") > 300 << 20


def test_curves_are_drawn_with_their_names_and_their_last_values() -> None:
    curves = [Curve("ours <a>", [(0, 0.0), (60, 0.5)]), Curve("raw", [(0, 0.0), (60, 0.25)])]
    picture = Tree.fromstring(drawn(curves, "seconds", "recall"))  # noqa: S314 our own words
    assert picture.attrib["role"] == "img"
    assert "ours <a> 0.50; raw 0.25" in picture.attrib["aria-label"]
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert [one.attrib["points"].split()[0] for one in lines] == ["48.0,256.0", "48.0,256.0"]


@pytest.mark.parametrize(
    ("most", "ticks"),
    [(60, "0 10 20 30 40 50 60"), (977, "0 200 400 600 800"), (0.7, "0 0.2 0.4 0.6")],
)
def test_the_axis_of_time_has_few_and_round_numbers(most: float, ticks: str) -> None:
    picture = Tree.fromstring(drawn([Curve("a", [(most, 1.0)])], "s", "r"))  # noqa: S314
    texts = picture.findall("{http://www.w3.org/2000/svg}text")
    below = [one.text for one in texts if one.attrib.get("y") == str(HIGH - 26)]
    assert " ".join(filter(None, below)) == ticks


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["manual"], "--documents"),
        (["manual", "--documents", "/nowhere/at/all"], "--documents"),
        (["knowledge", "--seconds", "0"], "more than 0"),
        (["spells"], "no such part"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert why in capsys.readouterr().err
