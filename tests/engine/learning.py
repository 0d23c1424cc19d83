"""A tiny anchor and a handful of documents on disk, to train on in seconds."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

from calm_engine.specs import AugmentSpec, ComposeSpec, Progress
from tests.tiny import make_model, save_folder

Ended = TypeVar("Ended")  # an outcome, or a training that is prepared

PLACES = {"Zor": "Peru", "Vek": "Cuba", "Mib": "Iran", "Lux": "Oman", "Hap": "Mali", "Quo": "Chad"}


def make_augment(folder: Path, *, steps: int | None = 6) -> AugmentSpec:
    """An augmenter of six facts."""
    anchor = save_folder(make_model("llama", layers=5, positions=256, seed=1), folder / "anchor")
    table = "".join(f"{name},{place}\n" for name, place in PLACES.items())
    document = {"digest": "d1", "title": "t", "text": f"Product,Made in\n{table}"}
    (folder / "documents.jsonl").write_text(json.dumps(document), encoding="utf-8")
    return AugmentSpec(
        output=str(folder / "augmenter"),
        tokenizer=str(anchor),
        documents=str(folder / "documents.jsonl"),
        width=32,
        layers=2,
        heads=2,
        block=128,
        steps=steps,
        checkpoint_every=2,
        device="cpu",
        threads=1,
    )


def make_compose(folder: Path, *, steps: int = 6, control: str = "none") -> ComposeSpec:
    """A composition of two random parents and the same six facts."""
    anchor = save_folder(make_model("llama", layers=5, positions=256, seed=1), folder / "anchor")
    below = make_model("llama", width=32, heads=2, positions=256, seed=2)
    augmenter = save_folder(below, folder / "augmenter")
    rows = [
        {
            "id": name,
            "question": f"Where is {name}?",
            "answer": place,
            "expected": place,
            "kind": "recall",
            "entity": name,
            "value": place,
        }
        for name, place in PLACES.items()
    ]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "examples.jsonl").write_text(lines, encoding="utf-8")
    return ComposeSpec(
        output=str(folder / "composition"),
        anchor=str(anchor),
        augmenters=(str(augmenter),),
        examples=str(folder / "examples.jsonl"),
        batch_size=4,
        steps=steps,
        checkpoint_every=2,
        control=control,
        device="cpu",
        threads=1,
    )


def drain(run: Generator[Progress, None, Ended]) -> tuple[list[Progress], Ended]:
    """All news of a run and what it came to."""
    news = []
    while True:
        try:
            news.append(next(run))
        except StopIteration as end:
            ended: Ended = end.value
            return news, ended
