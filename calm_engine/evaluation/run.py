"""One question set asked of the composition, its parents, its rivals and its controls.

Knows who is asked what and what is kept. Knows no training of its own and no gates: whether the
figures suffice is decided by whoever promotes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from calm_engine import digests
from calm_engine.checkpoints import whole
from calm_engine.costs import costs_of
from calm_engine.data import Example, read_documents
from calm_engine.errors import EngineError, InputError
from calm_engine.evaluation.adapting import adapted
from calm_engine.evaluation.answers import Answers
from calm_engine.evaluation.asking import Column
from calm_engine.evaluation.card import card_of, verdict_of
from calm_engine.evaluation.columns import (
    ANCHOR_LORA,
    ANCHOR_RAG,
    COMPOSITION_RAG,
    READING,
    columns_of,
    composition_of,
    reading_columns,
)
from calm_engine.evaluation.counting import attribution_of, cells_of, differences_of
from calm_engine.evaluation.questions import (
    MOST,
    MOST_SEEN,
    SEEN,
    chosen,
    general_questions,
    read_questions,
    repetitions,
)
from calm_engine.evaluation.retrieval import SIZES, Library
from calm_engine.evaluation.rounds import Rounds
from calm_engine.evaluation.scoring import judged, scored
from calm_engine.families import read_tokenizer
from calm_engine.process import threads
from calm_engine.selfstudy import Source
from calm_engine.specs import EvaluateSpec, Outcome, Progress

OUTCOME, ITEMS, ANSWERS, CARD = "outcome.json", "items.jsonl", "answers.jsonl", "card.md"


def evaluate(spec: EvaluateSpec) -> Generator[Progress, None, Outcome]:
    """Ask everyone everything; begun again with the same parents and questions it goes on.

    Raises what `read_questions`, reading the documents and examples and loading the models raise,
    InputError "device.missing", "embedder.folder" and "output.exists", and `Cancelled` between two
    batches when the process was asked to stop.
    """
    every = read_questions(spec.questions)
    documents = read_documents(spec.documents) if spec.documents else []
    parents = _parents(spec)
    work = _key(spec, parents)
    if (done := _finished(spec, work)) is not None:
        return done
    torch.set_num_threads(threads(spec.threads))
    yield Progress("load", message="reading the models")
    together = composition_of(spec)
    drawn = chosen(every, spec.seed)
    rows = [*drawn, *(general_questions() if spec.retention else [])]
    rows += repetitions(documents, spec.seed)
    with Answers(_work(spec) / ANSWERS, work) as answers:
        columns = list(columns_of(spec, together))
        rounds = Rounds(spec, together, read_tokenizer(spec.anchor), rows, answers, 0)
        rounds.total = _total(spec, columns, rows)
        for column in columns:
            yield from rounds.ask(column)
        reads = yield from _reading(rounds, documents)
        if ANCHOR_LORA in spec.columns:
            yield from _adapting(rounds)
        said = dict(answers.said)
    asked = dict.fromkeys(name for name, _ in said if "@" not in name)
    names = [name for name in (*(one.name for one in columns), *LAST) if name in asked]
    facts = {
        **_figures(rows, said, names),
        "items": ITEMS,
        "card": CARD,
        "max_new_tokens": spec.max_new_tokens,
        "questions": len(drawn),
        "asked": len(rows),
        "of": len(every),
        "most": {"seen": MOST_SEEN, "other": MOST},
        "seed": spec.seed,
        "reads": reads,
        "pace": rounds.pace,
        "costs": dataclasses.asdict(costs_of(together)),
    }
    items = [_item(row, said, names) for row in rows]
    outcome = _publish(Path(spec.output), work, parents, facts, items)
    shutil.rmtree(_work(spec), ignore_errors=True)
    return outcome


LAST = (ANCHOR_RAG, COMPOSITION_RAG, ANCHOR_LORA)


def _total(spec: EvaluateSpec, columns: Sequence[Column], rows: Sequence[Example]) -> int:
    """How many answers there will be."""
    skips = [column.skips for column in columns]
    skips += [READING for name in (ANCHOR_RAG, COMPOSITION_RAG) if name in spec.columns]
    skips += [frozenset()] if ANCHOR_LORA in spec.columns else []
    trial = len(SIZES) * sum(row.slice == SEEN for row in rows) if _reads(spec) else 0
    return trial + sum(row.kind not in each for each in skips for row in rows)


def _reads(spec: EvaluateSpec) -> bool:
    return bool({ANCHOR_RAG, COMPOSITION_RAG} & set(spec.columns))


def _reading(
    rounds: Rounds, documents: Sequence[Source]
) -> Generator[Progress, None, dict[str, int]]:
    """Ask those who read, with as many passages as serve the anchor best where it may be tried.

    The trial is on questions of the slice "seen", which no other figure is judged by; without any
    the most passages are given.
    """
    if not _reads(rounds.spec):
        return {}
    yield Progress("load", message="indexing the passages")
    rounds.library = Library(documents, rounds.spec.embedder)
    trial = [row for row in rounds.questions if row.slice == SEEN]
    right = {}
    for reads in SIZES:
        name = f"{ANCHOR_RAG}@{reads}"
        yield from rounds.ask(Column(name, rounds.together, gate=0.0, reads=reads), trial)
        said = [(rounds.answers.said[name, row.id], row.expected) for row in trial]
        right[reads] = sum(scored(text, expected).is_right for text, expected in said)
    best = max(SIZES, key=lambda reads: (right[reads], -reads)) if trial else max(SIZES)
    for column in reading_columns(rounds.together, rounds.spec, best):
        yield from rounds.ask(column)
    return {"passages": best, "tried_on": len(trial), "of": len(rounds.library.passages)}


def _adapting(rounds: Rounds) -> Iterator[Progress]:
    """Ask the anchor with adapters; its second copy is gone afterwards."""
    for news in adapted(rounds.spec, rounds.together, _work(rounds.spec) / "adapters"):
        if isinstance(news, PreTrainedModel):
            yield from rounds.ask(Column(ANCHOR_LORA, news))
        else:
            yield news


def _figures(
    rows: Sequence[Example], said: dict[tuple[str, str], str], names: Sequence[str]
) -> dict[str, Any]:
    """Everything that is counted from the answers."""
    right = judged(said, {row.id: row.expected for row in rows})
    told: dict[str, Any] = {
        "cells": cells_of(rows, right, names),
        "differences": differences_of(rows, right, names),
        "attribution": attribution_of(rows, right),
    }
    return told | {"verdict": verdict_of(told)}


# -- what is kept ----------------------------------------------------------------------------------


def _work(spec: EvaluateSpec) -> Path:
    output = Path(spec.output)
    return output.with_name(f"{output.name}.work")


def _key(spec: EvaluateSpec, parents: dict[str, str]) -> str:
    """SHA-256 of what decides the answers: contents rather than paths, no sizes of batches."""
    named = {"questions": spec.questions, "documents": spec.documents, "examples": spec.examples}
    files = {name: Path(path) for name, path in named.items() if path is not None}
    told = {
        "parents": parents,
        "files": {name: digests.file_digest(path) for name, path in files.items()},
        "rest": [spec.max_new_tokens, spec.seed, sorted(spec.columns), spec.retention],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _parents(spec: EvaluateSpec) -> dict[str, str]:
    folders = {"composition": spec.composition, "anchor": spec.anchor}
    folders |= {f"augmenter_{i}": folder for i, folder in enumerate(spec.augmenters)}
    others = {"random": spec.random, "mismatched": spec.mismatched, "embedder": spec.embedder}
    folders |= {role: folder for role, folder in others.items() if folder}
    return {role: digests.weights_digest(folder) for role, folder in folders.items()}


def _finished(spec: EvaluateSpec, key: str) -> Outcome | None:
    """The outcome of this very work, if it stands there whole: nobody is asked again."""
    output = Path(spec.output)
    if not output.exists():
        return None
    try:
        digests.verify(output)
        told = json.loads((output / OUTCOME).read_text(encoding="utf-8"))
        if told.pop("key") == key:
            digest = digests.folder_digest(output)
            return Outcome.from_dict(told | {"folder": str(output), "digest": digest})
    except (EngineError, OSError, ValueError, KeyError):
        pass
    raise InputError("output.exists", "something else is in the output folder", path=output.name)


def _publish(
    output: Path,
    key: str,
    parents: dict[str, str],
    facts: dict[str, Any],
    items: Sequence[dict[str, Any]],
) -> Outcome:
    """Write the report's folder whole."""
    metrics = {f"{c['column']}/{c['kind']}/{c['slice']}": float(c["value"]) for c in facts["cells"]}
    told = {"kind": "report", "parents": parents, "metrics": metrics, "facts": facts}
    with whole(output) as aside:
        lines = [json.dumps(item, sort_keys=True) for item in items]
        (aside / CARD).write_text(card_of(facts, parents), encoding="utf-8")
        (aside / ITEMS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        text = json.dumps(told | {"key": key}, indent=2, sort_keys=True)
        (aside / OUTCOME).write_text(text + "\n", encoding="utf-8")
    digest = digests.folder_digest(output)
    return Outcome.from_dict(told | {"folder": str(output), "digest": digest})


def _item(row: Example, said: dict[tuple[str, str], str], columns: Sequence[str]) -> dict[str, Any]:
    """One question with the answer of everybody who was asked it."""
    answers = {}
    for column in columns:
        if (column, row.id) in said:
            text = said[column, row.id]
            score = scored(text, row.expected)
            told = {"text": text, "right": score.is_right, "exact": score.exact, "by": score.by}
            answers[column] = told
    return dataclasses.asdict(row) | {"answers": answers}
