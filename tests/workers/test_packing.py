"""Shards of a large corpus: made in parts on the ingest queue, sealed, taken by the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.corpora import actions as corpora
from apps.runs.actions import start_augment
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from calm_engine import preparing
from counterpoint import sealedfiles
from counterpoint.shelves import SHARDS
from tests.cast import Cast
from tests.workers.making import AUGMENT, make_parents
from tests.workers.test_onwards import carried
from workers import packing
from workers.packing import Cut, pack, pack_part

pytestmark = pytest.mark.django_db(transaction=True)

DEALT: dict[str, Any] = AUGMENT | {"deal": "shuffled", "passes": 1, "steps": 2, "patience": 0}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Messages of packing, which nobody carries but the test."""
    messages: list[tuple[str, ...]] = []
    monkeypatch.setattr("workers.packing.send", lambda *told: messages.append(told))
    return messages


@pytest.fixture
def run(cast: Cast, tmp_path: Path) -> Run:
    snapshot, anchor = make_parents(cast, tmp_path / "anchor")
    with tenant_scope(cast.north):
        return start_augment(snapshot, anchor=anchor, settings=DEALT, by=cast.ada)


def ids(cast: Cast, run: Run) -> tuple[str, str]:
    return str(cast.north.pk), str(run.pk)


def kept(cast: Cast) -> dict[str, Path]:
    """The shards on the shelf, by name."""
    with tenant_scope(cast.north):
        return {name.rpartition("/")[2]: path for path, name in SHARDS.standing()}


def test_slices_are_cut_as_the_engine_cuts_them() -> None:
    assert packing.SLICE == preparing.SLICE


def test_parts_begin_where_a_line_begins_and_hold_every_document_once(
    cast: Cast, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.packing.SLICE", 50)
    monkeypatch.setattr("workers.packing.TOGETHER", 4)
    with tenant_scope(cast.north):
        cut = Cut.of(run.snapshot)
        lines = list(corpora.lines_of(corpora.once(run.snapshot)))
    assert cut.size == sum(map(len, lines))
    assert len(cut.starts) > 3
    for place, (number, offset) in enumerate(cut.starts):
        assert offset == sum(map(len, lines[:number]))
        assert offset >= place * 200 > offset - len(lines[number - 1]) or place == 0


def test_what_the_queue_made_is_sealed_and_what_the_training_takes(
    cast: Cast, run: Run, sent: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.training.cores", lambda: 1)
    pack(*ids(cast, run))
    [(name, *args)] = sent
    assert name == "ingestion.pack_part"
    pack_part(*args)
    made = kept(cast)
    assert {"begun.json", "0-000000.blocks.arrow", "0-000000.documents.parquet"} <= set(made)
    assert all(sealedfiles.key_version(path) is not None for path in made.values())
    when = {path: path.stat().st_mtime_ns for path in made.values()}
    pack_part(*args)  # delivered twice
    after = carried(run)
    with tenant_scope(cast.north):
        told = list(after.events.values_list("text", flat=True))
    assert not any("preparing shards" in text for text in told), "nothing was left to make"
    assert {path: path.stat().st_mtime_ns for path in when} == when, "nothing was made again"
    assert "plan.json" in kept(cast)


def test_a_small_corpus_and_an_ended_training_are_passed_by(
    cast: Cast, run: Run, sent: list[tuple[str, ...]]
) -> None:
    with tenant_scope(cast.north):
        Run.objects.filter(pk=run.pk).update(spec=run.spec | {"deal": "auto"})
    pack(*ids(cast, run))
    with tenant_scope(cast.north):
        Run.objects.update(spec=run.spec, state="cancelled", finished_at=run.created_at)
    pack(*ids(cast, run))
    pack_part(*ids(cast, run), "0" * 64, "0")
    assert sent == []
    assert kept(cast) == {}


def test_a_shard_that_lacks_a_file_is_made_anew(tmp_path: Path) -> None:
    names = ("0-000000.blocks.arrow", "0-000000.blocks.arrow.json", "plan.json")
    for name in names:
        (tmp_path / name).touch()
    packing.whole_alone(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["0-000000.blocks.arrow"]
