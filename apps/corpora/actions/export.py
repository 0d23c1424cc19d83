"""Writes a snapshot out as the engine reads it: files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apps.corpora import manifests
from apps.corpora.actions.splits import as_row
from apps.corpora.manifests import Entry
from apps.corpora.models import (
    Example,
    Snapshot,
)
from counterpoint.storage import blobs

SEEN_QUESTIONS = 60  # of those that train the bridges, asked again in the evaluation


@dataclass(frozen=True)
class SnapshotFiles:
    """A snapshot as the engine reads it: three files of JSON lines."""

    documents: Path
    bridge_examples: Path
    held_out: Path


def export_snapshot(snapshot: Snapshot, folder: Path) -> SnapshotFiles:
    """Write a snapshot's documents, bridge examples and held-out questions into `folder`.

    documents        {"digest", "title", "text"}
    bridge_examples  {"id", "question", "answer", "expected", "kind", "entity", "value"}
    held_out         the same with "slice" and, of several corpora, the name of its "corpus"; a few
                     bridge examples stand there too, as "seen"
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = SnapshotFiles(
        folder / "documents.jsonl", folder / "bridge_examples.jsonl", folder / "held_out.jsonl"
    )
    with files.documents.open("wb") as lines:
        lines.writelines(lines_of(once(snapshot)))
    slices = dict(snapshot.manifest["examples"])
    rows = Example.objects.filter(corpus__in=snapshot.closure, digest__in=list(slices))
    examples, corpora = {}, {}
    for example in rows.select_related("corpus").order_by("-created_at", "corpus"):
        examples[example.digest] = as_row(example)  # of two corpora the one that had it first
        corpora[example.digest] = {"corpus": example.corpus.name} if snapshot.further else {}
    taught = [digest for digest in sorted(slices) if slices[digest] == "bridge"]
    held = [digest for digest in sorted(slices) if slices[digest] != "bridge"]
    with files.bridge_examples.open("w", encoding="utf-8") as out:
        for digest in taught:
            _write(out, examples[digest])
    with files.held_out.open("w", encoding="utf-8") as out:
        for digest in taught[:SEEN_QUESTIONS]:
            _write(out, examples[digest] | corpora[digest] | {"slice": "seen"})
        for digest in held:
            _write(out, examples[digest] | corpora[digest] | {"slice": slices[digest]})
    return files


def lines_of(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Documents as lines of JSON, read one at a time."""
    for entry in entries:
        with blobs().open("text", entry.training) as file:
            text = file.read().decode()
        row = {"digest": entry.original, "title": entry.title, "text": text}
        yield _line(row).encode()


def once(snapshot: Snapshot) -> Iterator[Entry]:
    """Each original once, though several corpora have it; the text that leaves most out stands for
    it, since whatever one of them blacked out nobody shall learn."""
    if not snapshot.further:
        yield from manifests.entries(snapshot)
        return
    chosen: dict[str, Entry] = {}
    for entry in manifests.entries(snapshot):
        known = chosen.get(entry.original)
        if known is None or (known.training == known.text != entry.training):
            chosen[entry.original] = entry
    yield from chosen.values()


def _write(out: IO[str], row: dict[str, str]) -> None:
    out.write(_line(row))


def _line(row: dict[str, str]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
