"""One question set asked of the composition, its parents, its rivals and its controls.

Knows who is asked what and what is kept. Knows no training of its own and no gates: whether the
figures suffice is decided by whoever promotes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from calm_engine import digests
from calm_engine.checkpoints import whole
from calm_engine.costs import costs_of
from calm_engine.data import Example
from calm_engine.errors import EngineError, InputError
from calm_engine.evaluation.adapting import adapted, with_documents, with_examples
from calm_engine.evaluation.agenda import Agenda, reads
from calm_engine.evaluation.answers import Answers
from calm_engine.evaluation.asking import Column
from calm_engine.evaluation.card import card_of, command_of, verdict_of
from calm_engine.evaluation.columns import (
    ADAPTED,
    ANCHOR_LORA,
    ANCHOR_LORA_DOCUMENTS,
    ANCHOR_RAG,
    COMPOSITION_RAG,
    SWAPPED,
    columns_of,
    composition_of,
    reading_columns,
    swapped_column,
)
from calm_engine.evaluation.counting import (
    attribution_of,
    cells_of,
    corpora_of,
    differences_of,
    overlap_of,
)
from calm_engine.evaluation.harnessed import asked_of_tasks, rows_of
from calm_engine.evaluation.judging import Ruling, judge_in, read_labels, ruled, told_of
from calm_engine.evaluation.kinds import OTHER_CORPUS
from calm_engine.evaluation.questions import MOST, MOST_SEEN
from calm_engine.evaluation.retrieval import SIZES, Library
from calm_engine.evaluation.rounds import Rounds
from calm_engine.evaluation.scoring import judged, scored
from calm_engine.evaluation.swapping import retrained
from calm_engine.families import read_tokenizer
from calm_engine.process import threads
from calm_engine.specs import EvaluateSpec, Outcome, Progress

OUTCOME, ITEMS, ANSWERS, CARD = "outcome.json", "items.jsonl", "answers.jsonl", "card.md"


def evaluate(spec: EvaluateSpec) -> Generator[Progress, None, Outcome]:
    """Ask everyone everything; begun again with the same parents and questions it goes on.

    Raises what `Agenda.made` and loading the models raise, InputError "device.missing",
    "embedder.folder" and "output.exists", and `Cancelled` between two batches when the process was
    asked to stop.
    """
    agenda, labels = Agenda.made(spec), read_labels(spec.labels)
    judge = judge_in(spec.judge, "cpu") if spec.judge else None
    parents = _parents(spec)
    work = _key(spec, parents)
    if (done := _finished(spec, work)) is not None:
        return done
    torch.set_num_threads(threads(spec.threads))
    yield Progress("load", message="reading the models")
    together = composition_of(spec)
    columns = list(columns_of(spec, together))
    with Answers(_work(spec) / ANSWERS, work) as answers:
        own = sum(column.is_asked(row) for column in columns for row in agenda.rows)
        total = own + agenda.besides(spec)
        rounds = Rounds(spec, together, read_tokenizer(spec.anchor), agenda.rows, answers, total)
        told = yield from _everybody(rounds, agenda, columns)
        said = {at: text for at, text in answers.said.items() if "@" not in at[0]}
    asked = {name for name, _ in said}
    names = [name for name in (*(one.name for one in columns), *LAST) if name in asked]
    rulings: dict[tuple[str, str], Ruling] = {}
    if judge is not None:
        yield Progress("load", message="asking the judge")
        judge.model.to(together.device)
        rulings = ruled(judge, said, agenda.by_id)
        told["judge"] = told_of(judge, rulings, labels)
    rows = [*agenda.rows, *rows_of(said)]
    told |= _figures(agenda, rows, said, names, rulings) | _measured(spec, agenda)
    told["why_not"] = agenda.why_not | told.pop("tasks")
    facts = told | {"pace": rounds.pace, "costs": dataclasses.asdict(costs_of(together))}
    # Whoever may read this report may not therefore read another corpus.
    items = [
        _item(row, said, names, rulings) | {"overlap": row.id in agenda.overlap.either}
        for row in agenda.rows
        if row.kind != OTHER_CORPUS
    ]
    outcome = _publish(Path(spec.output), work, parents, facts, items)
    shutil.rmtree(_work(spec), ignore_errors=True)
    return outcome


LAST = (SWAPPED, ANCHOR_RAG, COMPOSITION_RAG, ANCHOR_LORA, ANCHOR_LORA_DOCUMENTS)


def _everybody(
    rounds: Rounds, agenda: Agenda, columns: Sequence[Column]
) -> Generator[Progress, None, dict[str, Any]]:
    """Ask the models as they are, then those that learn or read first; what is told of these."""
    for column in columns:
        yield from rounds.ask(column)
    swapped = yield from _swapping(rounds, agenda)
    read = yield from _reading(rounds, agenda)
    yield from _adapting(rounds)
    why_not = yield from asked_of_tasks(rounds, _work(rounds.spec) / "tasks")
    return {"swapped": swapped, "reads": read, "judge": {}, "tasks": why_not}


def _measured(spec: EvaluateSpec, agenda: Agenda) -> dict[str, Any]:
    """What was asked, and how."""
    return {
        "items": ITEMS,
        "card": CARD,
        "command": command_of(spec),
        "max_new_tokens": spec.max_new_tokens,
        "questions": agenda.drawn,
        "asked": len(agenda.rows),
        "of": agenda.of,
        "most": {"seen": MOST_SEEN, "other": MOST},
        "seed": spec.seed,
    }


def _swapping(rounds: Rounds, agenda: Agenda) -> Generator[Progress, None, dict[str, Any]]:
    """Teach the augmenter the edited documents, and ask the composition on it.

    What is told of it: how many entities exchanged their names, and what the augmenter then knew.
    """
    spec, folder = rounds.spec, _work(rounds.spec) / SWAPPED
    if not agenda.swapped:
        return {}
    told: dict[str, Any] = {"entities": len(agenda.exchange.names)}
    for news in retrained(spec, rounds.together, agenda.exchange, agenda.documents, folder):
        if isinstance(news, Progress):
            yield news
            continue
        augmenter, outcome = news
        told["recall"] = outcome.metrics.get("recall")
        yield from rounds.ask(swapped_column(rounds.together, augmenter), agenda.swapped)
    return told


def _reading(rounds: Rounds, agenda: Agenda) -> Generator[Progress, None, dict[str, Any]]:
    """Ask those who read, with as many passages as serve the anchor best where it may be tried.

    Without questions to try it on the most passages are given.
    """
    spec, trial = rounds.spec, agenda.trial
    if not reads(spec):
        return {}
    yield Progress("load", message="indexing the passages")
    rounds.library = Library(agenda.documents, spec.embedder)
    right = {}
    for size in SIZES:
        name = f"{ANCHOR_RAG}@{size}"
        yield from rounds.ask(Column(name, rounds.together, gate=0.0, reads=size), trial)
        said = [(rounds.answers.said[name, row.id], row.expected) for row in trial]
        right[size] = sum(scored(text, expected).is_right for text, expected in said)
    best = max(SIZES, key=lambda size: (right[size], -size)) if trial else max(SIZES)
    for column in reading_columns(rounds.together, spec, best):
        yield from rounds.ask(column)
    return {
        "passages": best,
        "of": len(rounds.library.passages),
        "tried_on": len(trial),
        "right": {str(size): count for size, count in right.items()},
        "by_meaning": spec.embedder is not None,
    }


TEACHINGS = {
    ANCHOR_LORA: ("adapters", with_examples),
    ANCHOR_LORA_DOCUMENTS: ("adapters_documents", with_documents),
}


def _adapting(rounds: Rounds) -> Iterator[Progress]:
    """Ask the anchor with adapters; each time its second copy is gone afterwards."""
    for column, (name, teaching) in TEACHINGS.items():
        if column not in rounds.spec.columns:
            continue
        folder = _work(rounds.spec) / name
        for news in adapted(rounds.spec, rounds.together, folder, teaching):
            if isinstance(news, PreTrainedModel):
                yield from rounds.ask(Column(column, news, skips=ADAPTED))
            else:
                yield news


def _figures(
    agenda: Agenda,
    rows: Sequence[Example],
    said: dict[tuple[str, str], str],
    names: Sequence[str],
    rulings: Mapping[tuple[str, str], Ruling],
) -> dict[str, Any]:
    """Everything that is counted from the answers, and the judge's word where no rule decides."""
    expected = {row.id: row.expected for row in rows}
    right = judged(said, expected)
    right |= {at: ruling.is_right for at, ruling in rulings.items()}
    told: dict[str, Any] = {
        "cells": cells_of(rows, right, names),
        "corpora": corpora_of(rows, right, names),
        "overlap": overlap_of(rows, right, agenda.overlap, agenda.taught),
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
    named |= {"strangers": spec.strangers, "labels": spec.labels}
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
    others |= {"judge": spec.judge}
    folders |= {role: folder for role, folder in others.items() if folder}
    told = {role: digests.weights_digest(folder) for role, folder in folders.items()}
    return told | ({"tasks": digests.folder_digest(spec.tasks)} if spec.tasks else {})


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


def _item(
    row: Example,
    said: dict[tuple[str, str], str],
    columns: Sequence[str],
    rulings: Mapping[tuple[str, str], Ruling],
) -> dict[str, Any]:
    """One question with the answer of everybody who was asked it."""
    answers = {}
    for column in columns:
        if (column, row.id) in said:
            text = said[column, row.id]
            score = scored(text, row.expected)
            told = {"text": text, "right": score.is_right, "exact": score.exact, "by": score.by}
            if (ruling := rulings.get((column, row.id))) is not None:
                told |= {"right": ruling.is_right, "by": "judge", "flipped": ruling.is_flip}
            answers[column] = told
    return dataclasses.asdict(row) | {"answers": answers}
