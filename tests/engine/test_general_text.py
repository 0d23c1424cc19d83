"""General text is read beside a corpus: its share, no piece twice in a round, named for good."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calm_engine import exposures, texts
from calm_engine.augment import augment
from calm_engine.cli.reading import check_paths
from calm_engine.course import Course, plan
from calm_engine.data import Piece
from calm_engine.digests import file_digest
from calm_engine.errors import InputError
from calm_engine.shuffled import Shuffled
from calm_engine.specs import EVERYDAY, AugmentSpec
from tests.engine.learning import drain, make_augment
from tests.engine.test_augment_onwards import shuffled
from tests.engine.test_shards import anchor, corpus_at, prepared, shards

__all__ = ["anchor", "shards"]  # fixtures

# Specs and checkpoints name the text: one that is changed gets another name.
KNOWN = {"everyday-1": "f102fe3a2f46447285fbe2168cb52b2d6224f4549bad4ee5bebde5d1edff5cb0"}


def general_in(course: Course, number: int) -> tuple[list[Piece], int]:
    """The pieces of general text of a round, and the tokens of the others."""
    dealt = [piece for rows in course.batches_of(number, 6) for row in rows for piece in row]
    ours = set(course.general)
    general = [piece for piece in dealt if piece in ours]
    return general, sum(piece.size for piece in dealt if piece not in ours)


def with_file(folder: Path, *, share: float, words: int) -> AugmentSpec:
    path = folder / "public.jsonl"
    rows = [
        {"digest": f"p{n}", "title": "Public", "text": f"Rain falls on hill {n}."}
        for n in range(words)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return replace(make_augment(folder), general=str(path), general_share=share)


def test_a_name_stands_for_the_same_bytes_for_good(tmp_path: Path) -> None:
    assert {name: texts.digest_of(name) for name in texts.TEXTS} == KNOWN
    path = texts.file_of(EVERYDAY, tmp_path / "work")
    assert file_digest(path) == texts.digest_of(EVERYDAY)
    titles = [one.title for one in texts.sources_of(EVERYDAY)]
    assert len(set(titles)) == len(titles) == 28
    assert all(len(one.text) > 300 for one in texts.sources_of(EVERYDAY))


def test_the_command_takes_our_texts_by_name_and_looks_for_files(tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    check_paths(replace(spec, general=EVERYDAY))
    for field in ("general", "lessons"):
        with pytest.raises(InputError, match=r"data\.file"):
            check_paths(replace(spec, **{field: "everyday-2"}))


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_in_rounds_it_makes_up_its_share(tmp_path: Path, share: float) -> None:
    course = plan(with_file(tmp_path, share=share, words=400))
    for number in range(3):
        general, others = general_in(course, number)
        told = sum(piece.size for piece in general)
        assert told / (told + others) == pytest.approx(share, abs=0.05)
    assert general_in(course, 0) == general_in(course, 0)
    assert general_in(course, 0) != general_in(course, 1)


def test_no_piece_comes_twice_in_a_round_or_in_a_pass(tmp_path: Path) -> None:
    course = plan(with_file(tmp_path, share=0.9, words=7))
    general, _ = general_in(course, 0)
    assert sorted(piece.ids for piece in general) == sorted(piece.ids for piece in course.general)
    assert len(general) == 7
    asked = prepared(tmp_path / "anchor", tmp_path / "c", [corpus_at(tmp_path / "c.jsonl")])
    few = [corpus_at(tmp_path / "few.jsonl", documents=3)]
    public = prepared(tmp_path / "anchor", tmp_path / "few", few)
    feed = Shuffled(asked, size=1, passes=2, seed=0, general=public, share=0.9)
    assert feed.in_pass == len(asked) + len(public)


@pytest.mark.parametrize("deal", ["rounds", "shuffled"])
def test_an_augmenter_is_trained_beside_the_text_that_comes_with_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deal: str
) -> None:
    spec = make_augment(tmp_path) if deal == "rounds" else shuffled(tmp_path, monkeypatch)
    spec = replace(spec, general=EVERYDAY, steps=4)
    news, outcome = drain(augment(spec))
    assert all(one.metrics.get("loss", 1.0) > 0 for one in news)
    assert outcome.parents["general"] == KNOWN[EVERYDAY]
    assert outcome.facts["general"] == {"name": EVERYDAY, "digest": KNOWN[EVERYDAY]}
    mine = {json.loads(line)["digest"] for line in Path(spec.documents).read_text().splitlines()}
    assert {one.digest for one in exposures.read(outcome.folder)} == mine
