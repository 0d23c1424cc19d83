"""Composition data without labels: from documents to examples for bridges and held-out questions.

Puts sources together: templates over facts (`selfstudy.tasks`), what the anchor writes with the
passage in view, and a curator's own, which always count; then the three-way test (`sieve`) where
both kinds of models are given, and the split. The result is a folder named by its digest.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from calm_engine import digests
from calm_engine.checkpoints import whole
from calm_engine.data import Example, chance_of, read_documents, read_examples
from calm_engine.errors import InputError
from calm_engine.evaluation.retrieval import Library
from calm_engine.overlap import overlap
from calm_engine.ranks import Ranks
from calm_engine.selfstudy import WRITTEN, Source
from calm_engine.selfstudy.nouns import WORDS
from calm_engine.selfstudy.tasks import tasks_of
from calm_engine.selfstudy.writing import write_lessons, written_for
from calm_engine.sieve import judges_in, sieved
from calm_engine.specs import AugmentSpec, ExamplesSpec, Outcome, Progress
from calm_engine.split import split_examples

TAUGHT, HELD_OUT, OUTCOME = "bridge_examples.jsonl", "held_out.jsonl", "outcome.json"
SEEN = 60  # of those that train the bridges, asked again in a report
ASKING = ("question", "reverse")  # kinds of what the anchor writes that are questions

Found = Generator[Progress, None, tuple[list[Example], dict[str, int]]]


def write_examples(spec: ExamplesSpec) -> Generator[Progress, None, Outcome]:
    """Write, sift and share out; the folder appears when it is whole.

    Raises InputError "output.exists", "examples.nothing", and what reading the files and loading
    the models raise; Cancelled between two batches.
    """
    output = Path(spec.output)
    if output.exists():
        raise InputError("output.exists", "something is in the output folder", path=output.name)
    documents = read_documents(spec.documents)
    yield Progress("data", message="finding facts")
    told = tasks_of(documents, seed=spec.seed, unanswerable=spec.unanswerable)
    dropped = Counter(told.dropped)
    rows = [Example(id="", **row) for row in told.rows]
    written, left_out = yield from _written(spec, documents)
    dropped.update(left_out)
    rows = _weighted([*rows, *written], spec)
    rows, left_out = yield from _sifted(spec, rows, documents)
    dropped.update(left_out)
    own = read_examples(spec.examples) if spec.examples else []
    every = _named([*own, *rows])
    if not every:
        raise InputError("examples.nothing", "no fact was found", path=spec.documents)
    return _publish(spec, every, dict(dropped))


def _written(spec: ExamplesSpec, documents: Sequence[Source]) -> Found:
    """What the anchor asks of each passage that it has in view, checked against the passage."""
    if not spec.writes or spec.anchor is None:
        return [], {}
    told = AugmentSpec(
        output=spec.output,
        tokenizer=spec.anchor,
        documents=spec.documents,
        without=tuple(kind for kind in WRITTEN if kind not in ASKING),
        writes=True,
        device=spec.device,
        threads=spec.threads,
    )
    yield from write_lessons(told, Ranks.here(spec.device))
    found = written_for(told, documents)
    rows = [
        Example(
            "",
            one.given,
            one.said,
            one.said,
            "written",
            entity=f"document {one.digest[:12]}",  # split by document: nobody says what it is about
            value=one.said if len(one.said.split()) <= WORDS else "",
        )
        for wordings in found.wordings
        for one in wordings
        if one.kind in ASKING
    ]
    return rows, found.dropped


def _weighted(rows: Sequence[Example], spec: ExamplesSpec) -> list[Example]:
    """Of each kind its share, drawn by the seed; all of a kind that has no weight."""
    kept: list[Example] = []
    for kind in dict.fromkeys(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind]
        share = spec.weights.get(kind, 1.0)
        chance = chance_of(spec.seed, "weight", kind)
        kept += chance.sample(of_kind, round(len(of_kind) * share)) if share < 1 else of_kind
    return kept


def _sifted(spec: ExamplesSpec, rows: list[Example], documents: Sequence[Source]) -> Found:
    """Those that pass the three-way test; all, where there is nobody to ask."""
    if spec.anchor is None or not spec.augmenters:
        return rows, {}
    yield Progress("load", message="reading the models")
    device = Ranks.here(spec.device).device
    judges = judges_in(spec.anchor, spec.augmenters, Library(documents), device)
    told = yield from sieved(_named(rows), judges)
    return list(told.kept), told.dropped


def _named(rows: Iterable[Example]) -> list[Example]:
    """Each row once, named by the digest of what it says."""
    found: dict[str, Example] = {}
    for row in rows:
        told = row.as_row() | {"id": "", "slice": ""}
        corpus = told.pop("corpus")  # says nothing of what the row says
        text = json.dumps(told, sort_keys=True, ensure_ascii=False)
        name = hashlib.sha256(text.encode()).hexdigest()
        found.setdefault(name, Example(**told | {"id": name, "corpus": corpus}))
    return list(found.values())


def _publish(spec: ExamplesSpec, rows: Sequence[Example], dropped: dict[str, int]) -> Outcome:
    shares = split_examples([row.as_row() for row in rows], seed=spec.seed)
    taught = [row.as_row() for row in rows if shares[row.id] == "bridge"]
    held = [row.as_row() | {"slice": shares[row.id]} for row in rows if shares[row.id] != "bridge"]
    seen = [row | {"slice": "seen"} for row in taught[:: max(1, len(taught) // SEEN)][:SEEN]]
    slices = Counter(shares.values())
    both = overlap(taught, held)
    facts: dict[str, Any] = {
        "kinds": dict(Counter(row.kind for row in rows)),
        "dropped": dropped,
        "slices": dict(slices),
        "overlap": {"run": len(both.run), "near": len(both.near), "of": len(held)},
    }
    metrics = {f"rows/{name}": float(count) for name, count in sorted(slices.items())}
    metrics |= {f"kind/{name}": float(count) for name, count in sorted(facts["kinds"].items())}
    metrics |= {f"left out/{name}": float(count) for name, count in sorted(dropped.items())}
    metrics |= {f"overlap/{name}": float(count) for name, count in facts["overlap"].items()}
    told = {"kind": "examples", "parents": {}, "metrics": metrics, "facts": facts}
    output = Path(spec.output)
    with whole(output) as aside:
        _write(aside / TAUGHT, taught)
        _write(aside / HELD_OUT, [*seen, *held])
        text = json.dumps(told, indent=2, sort_keys=True)
        (aside / OUTCOME).write_text(f"{text}\n", encoding="utf-8")
    digest = digests.folder_digest(output)
    return Outcome.from_dict(told | {"folder": str(output), "digest": digest})


def _write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")
