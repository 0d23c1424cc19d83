"""A real manual: what self-study teaches beside plain training on its text, for the same time.

Both models have one shape and one tokenizer, and are asked the same questions in wordings that
neither was trained on. Reads a folder of text or Markdown files; of them nothing is kept.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from calm_engine.bench.curves import Curve, drawn
from calm_engine.bench.taught import Taught, train
from calm_engine.capacity import propose
from calm_engine.course import Course, plan
from calm_engine.data import piece_of
from calm_engine.errors import InputError
from calm_engine.figures import Figure
from calm_engine.recall import DIRECT, INVERSE
from calm_engine.specs import AugmentSpec

ENDINGS = (".txt", ".md", ".txt.gz", ".md.gz")
AGAINST = "the same model trained on the raw text for the same core-seconds"


def measure(
    tokenizer: Path, folder: Path, scratch: Path, *, seconds: float, plot: Path | None
) -> Iterator[Figure]:
    """Train both, and tell recall beside recall; the curves go into an SVG.

    folder    holds the documents
    seconds   core-seconds of each training
    Raises InputError("documents.empty") when the folder holds no text.
    """
    documents = scratch / "documents.jsonl"
    written = write_documents(folder, documents)
    spec = AugmentSpec(output=str(scratch), tokenizer=str(tokenizer), documents=str(documents))
    course = plan(spec)
    shape = propose(
        tokens=course.tokens, facts=len(course.study.facts), exposures=course.rounds
    ).shape
    # Text alone is met less often, and would be given a larger model.
    spec = replace(spec, width=shape.width, layers=shape.layers, heads=shape.heads)
    questions = course.study.held_out
    if not questions:
        raise InputError("documents.empty", "nothing to ask was found", path=folder.name)
    torch.manual_seed(spec.seed)
    studied = train(spec, course, questions, seconds=seconds)
    torch.manual_seed(spec.seed)
    raw = train(spec, text_alone(course), questions, seconds=seconds)
    curves = (
        Curve("self-study, recall", [(one.seconds, one.recall) for one in studied.looks]),
        Curve("self-study, inverse", [(one.seconds, one.inverse) for one in studied.looks]),
        Curve("raw text, recall", [(one.seconds, one.recall) for one in raw.looks]),
        Curve("raw text, inverse", [(one.seconds, one.inverse) for one in raw.looks]),
    )
    for curve in curves:
        told = ", ".join(f"{at:.0f} s {value:.3f}" for at, value in curve.points)
        print(f"{curve.name}: {told}", flush=True)
    if plot is not None:
        plot.write_text(drawn(curves, "core-seconds of training", "recall"), encoding="utf-8")
    yield Figure("manual.bytes", written, "bytes", f"{len(course.study.passages)} passages")
    yield from _told("self_study", studied)
    yield from _told("raw", raw)
    yield Figure("manual.recall_over_raw", _over(studied, raw, DIRECT), "ratio", AGAINST, 2.0, True)
    yield Figure("manual.inverse_over_raw", _over(studied, raw, INVERSE), "ratio", AGAINST)


def _over(studied: Taught, raw: Taught, forms: Sequence[str]) -> float:
    """How many times as many questions are right; where the other knows none, as if it knew one."""
    right = [
        sum(told[0] for form, told in one.recall.by_form().items() if form in forms)
        for one in (studied, raw)
    ]
    return right[0] / max(1, right[1])


def _told(name: str, taught: Taught) -> Iterator[Figure]:
    last = taught.looks[-1]
    asked = len(taught.recall.marks)
    against = f"{asked} held-out questions, {taught.parameters / 1e6:.1f}M weights"
    met = f"{taught.steps} steps, {taught.rounds} rounds, {last.seconds:.0f} core-seconds"
    yield Figure(f"manual.{name}.recall", last.recall, "share", against)
    yield Figure(f"manual.{name}.inverse", last.inverse, "share", met)
    for form, (right, of) in taught.recall.by_form().items():
        plain = form.replace(" ", "_")
        yield Figure(f"manual.{name}.of_{plain}", right / of, "share", f"{right} of {of}")


def text_alone(course: Course) -> Course:
    """The same corpus as plain text: every passage in every round, and nothing else."""
    passages = tuple(
        piece_of(one, course.tokenizer, course.prefix) for one in course.study.passages
    )
    return replace(course, entities=(), points=(), covered=(), prose=passages)


def write_documents(folder: Path, path: Path) -> int:
    """The folder's files as JSON lines; the bytes of text. Raises InputError("documents.empty")."""
    rows = []
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name.endswith(ENDINGS):
            held = file.read_bytes()
            text = (gzip.decompress(held) if file.suffix == ".gz" else held).decode(
                "utf-8", "replace"
            )
            digest = hashlib.sha256(text.encode()).hexdigest()
            rows.append({"digest": digest, "title": file.name.partition(".")[0], "text": text})
    if not rows:
        raise InputError("documents.empty", "no text or Markdown file", path=folder.name)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return sum(len(row["text"].encode()) for row in rows)
