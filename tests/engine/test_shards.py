"""Documents to shards of packed tokens: the same bytes for any number of workers, nothing lost."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch

from calm_engine import packing, preparing
from calm_engine.data import collate, encode
from calm_engine.digests import file_digest
from calm_engine.errors import InputError
from calm_engine.exposures import Exposure
from calm_engine.packing import Part
from calm_engine.preparing import Maker, Preparation, prepare_shards, slices
from calm_engine.ranks import ALONE, Ranks
from calm_engine.shards import Shards
from calm_engine.shuffled import Shuffled
from tests.tiny import make_model, make_tokenizer, save_folder

BLOCK = 64


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    return save_folder(make_model("llama", positions=256), tmp_path / "anchor")


def corpus_at(path: Path, *, documents: int = 30) -> Path:
    rows = [
        {"digest": f"d{i}", "title": f"Note {i}", "text": f"Item {i} lies in room {i * 7}.\n" * 3}
        for i in range(documents)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def prepared(
    anchor: Path, folder: Path, files: Sequence[Path], *, workers: int = 1, block: int = BLOCK
) -> Shards:
    asked = Preparation(tuple(map(str, files)), str(anchor), block)
    for _ in prepare_shards(asked, folder, workers=workers):
        pass
    return Shards(folder)


@pytest.fixture
def shards(anchor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shards:
    monkeypatch.setattr(preparing, "SLICE", 1000)  # several shards of a small file
    return prepared(anchor, tmp_path / "shards", [corpus_at(tmp_path / "c.jsonl")])


def test_every_documents_words_come_back_in_their_order(shards: Shards) -> None:
    tokenizer = make_tokenizer()
    found = {one.digest: one for one in shards.documents()}
    assert list(found) == [f"d{i}" for i in range(30)]
    for i in (0, 13, 29):
        one = found[f"d{i}"]
        others = [(o.shard, o.number) for o in found.values() if o.digest != one.digest]
        pieces = [p for block in one.blocks for p in shards.row(block, others)]
        said = [token for piece in pieces for token in piece.ids[piece.first :]]
        assert said == encode(tokenizer, " " + f"Item {i} lies in room {i * 7}.\n" * 3)
        assert {tokenizer.decode(p.ids[: p.first]) for p in pieces} == {f"[Note {i}]"}


def test_blocks_are_full_and_never_too_long(shards: Shards) -> None:
    sizes = [
        len(shards.prefix) + sum(piece.size for piece in shards.row(n)) for n in range(len(shards))
    ]
    assert max(sizes) <= BLOCK
    assert sum(sizes) / len(sizes) > 0.8 * BLOCK


def test_the_shards_are_the_same_bytes_for_any_number_of_workers(
    anchor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "SLICE", 1000)
    corpus = corpus_at(tmp_path / "c.jsonl")
    folders = [tmp_path / "one", tmp_path / "two"]
    for workers, folder in enumerate(folders, start=1):
        prepared(anchor, folder, [corpus], workers=workers)
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    assert len(names[0]) > 6
    assert all((folders[0] / n).read_bytes() == (folders[1] / n).read_bytes() for n in names[0])


def test_a_process_that_is_not_forked_makes_the_same_shards(anchor: Path, tmp_path: Path) -> None:
    """It is handed a pickled maker, and a pickled tokenizer takes the words of a chat for signs."""
    corpus = tmp_path / "c.jsonl"
    row = {"digest": "d", "title": "Note", "text": "Say <|end|> and no more."}
    corpus.write_text(json.dumps(row), encoding="utf-8")
    asked = Preparation((str(corpus),), str(anchor), BLOCK)
    folders = [tmp_path / "here", tmp_path / "there"]
    makers = [Maker(asked, folder) for folder in folders]
    for maker in (makers[0], pickle.loads(pickle.dumps(makers[1]))):  # noqa: S301 - our own
        maker.folder.mkdir()
        for one in slices(asked.files):
            maker.make(one)
    names = [path.name for path in folders[0].iterdir()]
    assert all((folders[0] / n).read_bytes() == (folders[1] / n).read_bytes() for n in names)


def test_what_was_finished_is_not_made_again(
    anchor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "SLICE", 1000)
    corpus = corpus_at(tmp_path / "c.jsonl")
    asked = Preparation((str(corpus),), str(anchor), BLOCK)
    begun = prepare_shards(asked, tmp_path / "shards")
    first, total = next(begun)
    begun.close()  # as a crash would leave it
    rest = list(prepare_shards(asked, tmp_path / "shards"))
    assert rest == [(done, total) for done in range(first + 1, total + 1)]
    assert list(prepare_shards(asked, tmp_path / "shards")) == []
    other = Preparation((str(corpus),), str(anchor), BLOCK + 8)
    assert len(list(prepare_shards(other, tmp_path / "shards"))) == total


def test_a_documents_logits_do_not_change_with_its_neighbours(shards: Shards) -> None:
    model = make_model("llama", positions=256)

    def logits(row: list[object]) -> torch.Tensor:
        batch = collate([row], prefix=shards.prefix, pad=shards.pad)  # type: ignore[list-item]
        with torch.no_grad():
            out = model(
                input_ids=batch.ids,
                position_ids=batch.positions,
                attention_mask=batch.mask,
                use_cache=False,
            )
        return out.logits[batch.saying]

    row = next(row for n in range(len(shards)) if len(row := shards.row(n)) > 1)
    together = logits(list(row)).split([piece.targets for piece in row])
    for piece, found in zip(row, together, strict=True):
        torch.testing.assert_close(found, logits([piece]), atol=1e-5, rtol=1e-5)


def test_lessons_are_packed_beside_documents_and_asked_in_a_chat(
    anchor: Path, tmp_path: Path
) -> None:
    lesson = {"form": "question", "given": "Where is Zor?", "said": "Peru", "ends": True}
    lines = tmp_path / "lessons.jsonl"
    lines.write_text(json.dumps(lesson | {"digest": "d0", "about": ["Zor"]}), encoding="utf-8")
    found = prepared(anchor, tmp_path / "s", [corpus_at(tmp_path / "c.jsonl"), lines])
    asked = [p for n in range(len(found)) for p in found.row(n) if p.is_asked]
    assert len(asked) == 1
    assert make_tokenizer().decode(asked[0].ids[asked[0].first : -1]) == "Peru"


@pytest.mark.parametrize(
    ("line", "code"),
    [("{", "data.json"), ("[1]", "data.row"), ('{"text": "x"}', "data.row")],
)
def test_a_line_that_cannot_be_read_is_named(
    line: str, code: str, anchor: Path, tmp_path: Path
) -> None:
    corpus = corpus_at(tmp_path / "c.jsonl", documents=3)
    corpus.write_text(corpus.read_text(encoding="utf-8") + line, encoding="utf-8")
    with pytest.raises(InputError) as told:
        prepared(anchor, tmp_path / "s", [corpus])
    assert (told.value.code, told.value.facts["line"]) == (code, 4)


def test_a_line_that_another_process_cannot_read_is_named_too(
    anchor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "SLICE", 1000)
    corpus = corpus_at(tmp_path / "c.jsonl")
    corpus.write_text(f"{corpus.read_text()}{{no json\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.json") as told:
        prepared(anchor, tmp_path / "s", [corpus], workers=2)
    assert (told.value.facts["line"], told.value.facts["path"]) == (31, str(corpus))


def test_documents_without_a_word_are_refused(anchor: Path, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"digest": "d", "text": ""}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"documents\.empty"):
        prepared(anchor, tmp_path / "s", [tmp_path / "c.jsonl"])


# -- dealt out -------------------------------------------------------------------------------------


def met(feed: Shuffled, steps: range) -> list[tuple[int, ...]]:
    return [piece.ids for step in steps for row in feed.rows(step) for piece in row]


def test_a_pass_meets_everything_once_in_an_order_of_its_own(shards: Shards) -> None:
    feed = Shuffled(shards, size=4, passes=2, seed=3)
    first, second = (met(feed, range(n * feed.in_pass, (n + 1) * feed.in_pass)) for n in (0, 1))
    everything = [piece.ids for n in range(len(shards)) for piece in shards.row(n)]
    assert sorted(first) == sorted(second) == sorted(everything)
    assert first != second
    assert first == met(Shuffled(shards, size=4, passes=1, seed=3), range(feed.in_pass))


def test_general_text_makes_up_its_share(shards: Shards, anchor: Path, tmp_path: Path) -> None:
    public = prepared(anchor, tmp_path / "public", [corpus_at(tmp_path / "p.jsonl", documents=9)])
    plain = Shuffled(shards, size=1, passes=1, seed=0)
    mixed = Shuffled(shards, size=1, passes=1, seed=0, general=public, share=0.2)
    assert plain.steps / mixed.steps == pytest.approx(0.8, abs=0.02)


def test_what_is_left_out_leaves_all_other_places_as_they_were(shards: Shards) -> None:
    whole = Shuffled(shards, size=2, passes=1, seed=1)
    lacking = Shuffled(shards, size=2, passes=1, seed=1, without={"d7"})
    first = whole.first_step({"d7"})
    assert met(whole, range(first)) == met(lacking, range(first))
    assert whole.rows(first) != lacking.rows(first)
    [gone] = [one for one in shards.documents() if one.digest == "d7"]
    tag = tuple(encode(make_tokenizer(), "[Note 7]"))
    assert not any(ids[: len(tag)] == tag for ids in met(lacking, range(lacking.steps)))
    assert len(met(whole, range(whole.steps))) == gone.pieces + len(
        met(lacking, range(lacking.steps))
    )


def test_exposures_are_what_was_dealt(shards: Shards) -> None:
    feed = Shuffled(shards, size=3, passes=2, seed=5, without={"d4"})
    tags = {f"d{i}": tuple(encode(make_tokenizer(), f"[Note {i}]")) for i in range(30)}
    steps = feed.in_pass + 2
    dealt = [(s, ids) for s in range(steps) for ids in met(feed, range(s, s + 1))]
    for one in feed.exposures(steps):
        mine = [s for s, ids in dealt if ids[: len(tags[one.digest])] == tags[one.digest]]
        assert one == Exposure(one.digest, len(mine), min(mine, default=None))


def test_an_update_repeats_as_much_of_the_known_as_there_is_new(shards: Shards) -> None:
    known = {f"d{i}" for i in range(25)}
    feed = Shuffled(shards, size=1, passes=1, seed=0, known=known)
    fresh = {block for one in shards.documents() if one.digest not in known for block in one.blocks}
    assert feed.steps == 2 * len(fresh)


def test_a_sample_of_documents_is_the_same_in_any_order_and_has_all_their_places(
    shards: Shards, anchor: Path, tmp_path: Path
) -> None:
    sample = shards.sample(12, seed=1)
    assert len(sample) == 12
    assert sample != shards.sample(12, seed=2)
    assert len(shards.sample(100, seed=1)) == 30
    told = sorted((tmp_path / "c.jsonl").read_text().splitlines(), reverse=True)
    (tmp_path / "turned.jsonl").write_text("\n".join(told), encoding="utf-8")
    asked = (
        {"form": "question", "given": "Where?", "said": "a", "digest": f"d{n}"} for n in range(30)
    )
    rows = "\n".join(json.dumps(one | {"ends": True}) for one in asked)
    (tmp_path / "asked.jsonl").write_text(rows, encoding="utf-8")
    files = [tmp_path / "turned.jsonl", tmp_path / "asked.jsonl"]
    turned = prepared(anchor, tmp_path / "t", files)
    again = turned.sample(12, seed=1)
    assert again.keys() == sample.keys()
    for text, question in again.values():
        assert [piece.is_asked for piece in turned.of_document(question, most=2)] == [True]
        assert not any(piece.is_asked for piece in turned.of_document(text, most=2))


def test_a_batch_is_the_same_for_one_process_and_for_two(shards: Shards) -> None:
    feed = Shuffled(shards, size=4, passes=1, seed=0)
    [(alone, weight)] = feed.batch(1, ALONE, 1).parts
    assert weight == 1.0
    parts = [part for rank in (0, 1) for part in feed.batch(1, two(rank), 1).parts]
    assert sum(weight for _, weight in parts) == pytest.approx(1.0)
    assert sum(len(part.wanted) for part, _ in parts) == len(alone.wanted)


def two(rank: int) -> Ranks:
    return replace(ALONE, rank=rank, count=2)


# -- in parts, each from its own lines -------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 3])
def test_parts_made_apart_are_the_same_bytes_as_the_whole(
    anchor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """A long line covers slices in which no other begins; they stay empty, as in the whole."""
    monkeypatch.setattr(preparing, "SLICE", 500)
    monkeypatch.setattr(packing, "SLICE", 500)
    corpus = corpus_at(tmp_path / "c.jsonl")
    with corpus.open("a", encoding="utf-8") as file:
        for digest, text in (("long", "On and on. " * 300), ("last", "The end of it.")):
            file.write(json.dumps({"digest": digest, "title": "t", "text": text}) + "\n")
    whole = tmp_path / "whole"
    prepared(anchor, whole, [corpus])
    lines = corpus.read_bytes().splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]
    size, width = starts[-1], 500 * together
    apart = tmp_path / "apart"
    for number in range(-(-size // width)):
        begin, end = number * width, (number + 1) * width
        here = [n for n, at in enumerate(starts[:-1]) if begin <= at < end]
        own = tmp_path / "own.jsonl"
        own.write_bytes(b"".join(lines[n] for n in here))
        following = next((at for at in starts if at >= begin), size)
        packing.pack(
            Part(
                lines=str(own),
                tokenizer=str(anchor),
                output=str(apart),
                block=BLOCK,
                digest=file_digest(corpus),
                size=size,
                offset=following,
                first=number * together,
                last=min(-(-size // 500), (number + 1) * together),
            )
        )
    made = {path.name: path.read_bytes() for path in whole.iterdir() if path.name != "plan.json"}
    assert {path.name: path.read_bytes() for path in apart.iterdir()} == made
