"""The measuring of what was learned: its corpora, its pictures, and what it refuses."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from xml.etree import ElementTree as Tree

import pytest

from calm_engine.bench import knowledge, manual
from calm_engine.bench.__main__ import main
from calm_engine.bench.curves import Curve, drawn
from calm_engine.course import plan
from calm_engine.errors import InputError
from calm_engine.selfstudy import Source, study
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


def test_curves_are_drawn_with_their_names_and_their_last_values() -> None:
    curves = [Curve("ours <a>", [(0, 0.0), (60, 0.5)]), Curve("raw", [(0, 0.0), (60, 0.25)])]
    picture = Tree.fromstring(drawn(curves, "seconds", "recall"))  # noqa: S314 our own words
    assert picture.attrib["role"] == "img"
    assert "ours <a> 0.50; raw 0.25" in picture.attrib["aria-label"]
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert [one.attrib["points"].split()[0] for one in lines] == ["48.0,256.0", "48.0,256.0"]


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
