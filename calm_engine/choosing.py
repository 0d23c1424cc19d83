"""Which examples a composition learns from: all of its file, or those that pass the three-way test.

What passed is kept while the run lasts, so that one that goes on learns from the same. Knows no
bridges and no steps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from calm_engine.data import Example, read_documents, read_examples
from calm_engine.errors import InputError
from calm_engine.evaluation.retrieval import Library
from calm_engine.preparing import replace_file
from calm_engine.ranks import Ranks
from calm_engine.sieve import Sieved, judges_in, sieved
from calm_engine.specs import ComposeSpec, Progress


def learned_from(
    spec: ComposeSpec, ranks: Ranks, folder: Path
) -> Generator[Progress, None, Sieved]:
    """The examples in the order of their file, and how many were left out, by reason.

    folder   where each process keeps what it found of its share
    Raises InputError "examples.sieved" where nothing is left, and what reading files and loading
    models raise; Cancelled between two batches.
    """
    examples = read_examples(spec.examples)
    if not spec.sieve:
        return Sieved(tuple(examples))
    own = _file(folder, ranks.rank, ranks.count)
    if not own.is_file():
        places = range(ranks.rank, len(examples), ranks.count)
        found = yield from _tested(spec, [(at, examples[at]) for at in places], ranks)
        _write(own, found)
    ranks.wait()
    files = [_file(folder, rank, ranks.count) for rank in range(ranks.count)]
    told = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    kept = sorted(at for one in told for at in one["kept"])
    dropped = sum((Counter(one["dropped"]) for one in told), Counter[str]())
    if not kept:
        why = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common())
        raise InputError("examples.sieved", why, examples=len(examples), why=why)
    return Sieved(tuple(examples[at] for at in kept), dict(dropped))


def _tested(
    spec: ComposeSpec, rows: Sequence[tuple[int, Example]], ranks: Ranks
) -> Generator[Progress, None, Sieved]:
    """These examples asked of the anchor and of the augmenters themselves, whatever the control is:
    it learns from the same examples."""
    yield Progress("load", message="reading the models for the three-way test")
    assert spec.passages is not None
    library = Library(read_documents(spec.passages))
    judges = judges_in(spec.anchor, spec.augmenters, library, ranks.device)
    return (yield from sieved([replace(one, id=str(at)) for at, one in rows], judges))


def _file(folder: Path, rank: int, count: int) -> Path:
    return folder / f"{rank}-of-{count}.json"


def _write(path: Path, found: Sieved) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"kept": [int(one.id) for one in found.kept], "dropped": found.dropped}
    replace_file(path, json.dumps(told))
