"""Freezing, what is held out, and the files that the engine reads."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, transaction

from apps.audit.models import AuditEvent
from apps.corpora import actions, manifests
from apps.corpora.actions import ExampleReceipt
from apps.corpora.models import Corpus, Snapshot
from apps.demo import meridian
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.corpora.making import make_corpus, make_document, send, take_in
from tests.cast import Cast

VALUES = [f"Country {letter}" for letter in "ABCDEFGHIJKLMNOP"]


def rows(first: int, last: int) -> list[dict[str, str]]:
    """Two questions for each made-up product; product n is made in the n-th country, in turn."""
    return [
        {"question": question, "answer": value, "entity": entity, "value": value}
        for n in range(first, last)
        for entity, value in [(f"Device{n}", VALUES[n % len(VALUES)])]
        for question in (f"Where is the {entity} made?", f"Which country makes the {entity}?")
    ]


def freeze(cast: Cast, corpus: Corpus) -> Snapshot:
    with tenant_scope(cast.north):
        return actions.freeze(corpus, by=cast.ada)


def removed(corpus: Corpus) -> int:
    """Documents that the next snapshot would lack."""
    documents = actions.changes(corpus).documents
    assert documents is not None
    return documents.removed


def sheet(rows: list[list[object]], name: str = "e.xlsx") -> SimpleUploadedFile:
    book, held = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.worksheets[0].append(row)
    book.save(held)
    return SimpleUploadedFile(name, held.getvalue())


def test_questions_come_from_a_sheet_row_by_row(cast: Cast) -> None:
    corpus = make_corpus(cast)
    rows: list[list[object]] = [
        ["Answer", "Question", "kind", None],
        [1250, "How heavy is it?", None, "aside"],
        [],
        ["Peru", None, None, None],
    ]
    with tenant_scope(cast.north):
        receipt = actions.add_examples(corpus, sheet(rows), by=cast.ada)
        assert (receipt.added, [number for number, _ in receipt.rejected]) == (1, [3])
        example = corpus.examples.get()
    assert (example.question, example.answer, example.kind) == (
        "How heavy is it?", "1250", "recall"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (SimpleUploadedFile("e.xlsx", b"no workbook"), "examples.sheet"),
        (SimpleUploadedFile("e.xlsx", b"PK\x05\x06" + bytes(18)), "examples.sheet"),
        (sheet([["What", "Why"], ["a", "b"]]), "examples.columns"),
        (sheet([]), "examples.columns"),
        (SimpleUploadedFile("e.pdf", b"question,answer"), "examples.type"),
    ],
)
def test_a_file_that_holds_no_questions_is_refused_by_name(
    cast: Cast, file: SimpleUploadedFile, code: str
) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north), pytest.raises(InputError) as refused:
        actions.add_examples(corpus, file, by=cast.ada)
    assert refused.value.code == code


def test_two_million_rows_are_refused_and_none_is_kept(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.corpora.examples.ROW_LIMIT", 2)
    corpus = make_corpus(cast)
    rows = [{"question": f"Where is {at}?", "answer": "Peru"} for at in range(3)]
    with tenant_scope(cast.north), pytest.raises(InputError, match=r"examples\.many"):
        actions.add_examples(corpus, rows, by=cast.ada)
    with tenant_scope(cast.north):
        assert not corpus.examples.exists()


def add(cast: Cast, corpus: Corpus, examples: list[dict[str, str]]) -> ExampleReceipt:
    with tenant_scope(cast.north):
        return actions.add_examples(corpus, examples, by=cast.ada)


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_freezing_an_empty_corpus_is_refused(cast: Cast) -> None:
    corpus = make_corpus(cast)
    add(cast, corpus, rows(0, 2))
    with pytest.raises(InputError) as refused:
        freeze(cast, corpus)
    assert refused.value.code == "corpus.empty"


def test_freezing_waits_for_what_is_still_being_read(cast: Cast) -> None:
    corpus = make_document(cast).corpus
    send(cast, corpus, {"late.txt": b"late words"})
    with pytest.raises(InputError) as refused:
        freeze(cast, corpus)
    assert (refused.value.code, refused.value.facts) == ("upload.in_progress", {"files": 1})


def test_an_unchanged_corpus_freezes_to_the_snapshot_it_has(cast: Cast) -> None:
    corpus = make_document(cast).corpus
    first = freeze(cast, corpus)
    assert freeze(cast, corpus).pk == first.pk
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="snapshot.freeze").count() == 1
        assert not actions.changes(corpus).any


def test_the_order_of_arrival_does_not_change_the_digest(cast: Cast) -> None:
    files = {f"{n}.txt": f"words {n}".encode() for n in range(4)}
    one, other = make_corpus(cast, "One"), make_corpus(cast, "Other")
    take_in(cast, one, files)
    for name in reversed(files):
        take_in(cast, other, {name: files[name]})
    assert freeze(cast, one).digest == freeze(cast, other).digest


def test_a_snapshot_cannot_be_changed(cast: Cast) -> None:
    snapshot = freeze(cast, make_document(cast).corpus)
    with tenant_scope(cast.north):
        with pytest.raises(DatabaseError), transaction.atomic():
            Snapshot.objects.filter(pk=snapshot.pk).update(note="better")
        with pytest.raises(DatabaseError), transaction.atomic():
            snapshot.delete()


def test_a_document_that_was_left_out_stays_out_until_it_is_taken_in(cast: Cast) -> None:
    document = make_document(cast)
    make_document(cast, document.corpus, "Country: Chile")
    whole = freeze(cast, document.corpus)
    with tenant_scope(cast.north):
        actions.exclude(document, by=cast.ada)
        assert removed(document.corpus) == 1
    part = freeze(cast, document.corpus)
    assert (whole.documents, part.documents) == (2, 1)
    with tenant_scope(cast.north):
        actions.include(document, by=cast.ada)
    assert freeze(cast, document.corpus).pk == whole.pk


def test_what_was_held_out_once_stays_held_out(cast: Cast) -> None:
    corpus = make_document(cast).corpus
    add(cast, corpus, rows(0, 40))
    first = dict(freeze(cast, corpus).manifest["examples"])
    assert set(first.values()) == {"bridge", "unseen_entity", "unseen_value"}
    add(cast, corpus, rows(40, 120))
    second = dict(freeze(cast, corpus).manifest["examples"])
    assert {digest: second[digest] for digest in first} == first
    assert len(second) == 240


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_asked_as_unseen_was_taught(cast: Cast, seed: int) -> None:
    """Also when examples come in several deliveries, with entities and values met before."""
    corpus, chance = make_document(cast).corpus, random.Random(seed)  # noqa: S311  no secret
    for _ in range(3):
        some = rows(0, 90)
        chance.shuffle(some)
        add(cast, corpus, some[:70])
        snapshot = freeze(cast, corpus)
    slices = dict(snapshot.manifest["examples"])
    with tenant_scope(cast.north):
        examples = list(corpus.examples.all())
    taught = [e for e in examples if slices[e.digest] == "bridge"]
    entities, values = {e.entity for e in taught}, {e.value for e in taught}
    for e in examples:
        if slices[e.digest] != "bridge":
            assert e.entity not in entities
        if slices[e.digest] == "unseen_value":
            assert e.value not in values


def test_the_export_is_what_the_engine_reads(cast: Cast, tmp_path: Path) -> None:
    corpus = make_document(cast, text="Country: Côte d'Ivoire").corpus
    add(cast, corpus, rows(0, 40))
    snapshot = freeze(cast, corpus)
    with tenant_scope(cast.north):
        files = actions.export_snapshot(snapshot, tmp_path / "out")
        [original] = [entry.original for entry in manifests.entries(snapshot)]
    [document] = lines(files.documents)
    assert document == {
        "digest": original,
        "title": "note",
        "text": "Country: Côte d'Ivoire\n",
    }
    taught, asked = lines(files.bridge_examples), lines(files.held_out)
    assert set(taught[0]) == {"id", "question", "answer", "expected", "kind", "entity", "value"}
    assert set(asked[0]) == {*taught[0], "slice"}
    ids = {row["id"] for row in taught}
    for row in asked:
        assert (row["id"] in ids) == (row["slice"] == "seen")
    assert len(ids | {row["id"] for row in asked}) == 80


def test_the_export_still_has_what_was_left_out_later(cast: Cast, tmp_path: Path) -> None:
    document = make_document(cast)
    add(cast, document.corpus, rows(0, 3))
    snapshot = freeze(cast, document.corpus)
    with tenant_scope(cast.north):
        actions.exclude(document, by=cast.ada)
        document.corpus.examples.update(excluded=True)
        files = actions.export_snapshot(snapshot, tmp_path)
    assert len(lines(files.documents)) == 1
    assert (
        len(lines(files.bridge_examples))
        + len([row for row in lines(files.held_out) if row["slice"] != "seen"])
        == 6
    )


# ---- examples ------------------------------------------------------------------------------------


def test_examples_come_from_a_table_or_from_json_lines(cast: Cast) -> None:
    corpus = make_corpus(cast)
    table = SimpleUploadedFile(
        "e.csv",
        "Question;Answer;Entity\nWhere is X made?;Perú;X\nWhere is Y?;;Y\n".encode("cp1252"),
    )
    more = SimpleUploadedFile(
        "e.jsonl",
        '{"question": "Where is X made?", "answer": "Perú", "entity": "X"}\n'
        'nonsense\n{"question": "Capital?", "answer": "Lima", "expected": "Quito"}\n'.encode(),
    )
    with tenant_scope(cast.north):
        first = actions.add_examples(corpus, table, by=cast.ada)
        second = actions.add_examples(corpus, more, by=cast.ada)
        example = corpus.examples.get()
    assert (first.added, first.rejected) == (1, [(2, "question and answer must both be filled in")])
    assert (second.added, second.duplicates) == (0, 1)
    assert second.rejected == [
        (2, "this line is no JSON object"),
        (3, "the expected words do not stand in the answer"),
    ]
    assert (example.answer, example.expected, example.kind) == ("Perú", "Perú", "recall")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("e.csv", b"a,b\n1,2\n", "examples.columns"),
        ("e.csv", b"", "examples.columns"),
        ("e.ods", b"PK", "examples.type"),
    ],
)
def test_a_file_without_examples_is_refused(
    cast: Cast, name: str, content: bytes, code: str
) -> None:
    corpus = make_corpus(cast)
    with tenant_scope(cast.north), pytest.raises(InputError) as refused:
        actions.add_examples(corpus, SimpleUploadedFile(name, content), by=cast.ada)
    assert refused.value.code == code


def test_the_same_example_twice_is_one(cast: Cast) -> None:
    corpus = make_corpus(cast)
    twice = rows(0, 1) + rows(0, 1)
    receipt = add(cast, corpus, twice)
    assert (receipt.added, receipt.duplicates) == (2, 2)
    again = add(cast, corpus, twice)
    assert (again.added, again.duplicates) == (0, 4)


def test_the_demo_s_questions_are_all_taken(cast: Cast, tmp_path: Path) -> None:
    made = meridian.write_corpus(tmp_path, seed=2)
    corpus = make_corpus(cast)
    file = SimpleUploadedFile("examples.csv", made.examples.read_bytes())
    with tenant_scope(cast.north):
        receipt = actions.add_examples(corpus, file, by=cast.ada)
    assert receipt.rejected == []
    assert receipt.added > 200
