"""A small made-up company to train on: twenty products, and answers of a fact and some more words.

Knows how to write the files of a training; trains nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from calm_engine.specs import AugmentSpec, ComposeSpec

PLACES = ("Peru", "Cuba", "Iran", "Oman", "Mali", "Chad", "Togo", "Fiji")
STEMS, ENDINGS = ("Zor", "Vek", "Mib", "Lux", "Hap"), ("vex", "tal", "rin", "dor")
MADE = {
    f"{stem}{ending}": PLACES[(len(ENDINGS) * i + j) % len(PLACES)]
    for i, stem in enumerate(STEMS)
    for j, ending in enumerate(ENDINGS)
}
TAIL = "where each one is built by hand, tested for two weeks and packed in a wooden case"
HEADER = "| Product | Made in |\n| --- | --- |\n"
AUGMENT_STEPS, COMPOSE_STEPS = 400, 120


def question(name: str) -> str:
    return f"Where is the {name} made?"


def specs(anchor: Path, scratch: Path) -> tuple[AugmentSpec, ComposeSpec]:
    """Trainings of an augmenter and of its composition, their files written into `scratch`."""
    # The whole answer, as a cell: an augmenter drafts what it learned, and nothing else.
    table = "".join(f"| {name} | {place}, {TAIL} |\n" for name, place in MADE.items())
    document = {"digest": "d1", "title": "Products", "text": f"{HEADER}{table}"}
    (scratch / "documents.jsonl").write_text(json.dumps(document), encoding="utf-8")
    rows = (
        {"id": name, "question": question(name), "answer": f"{place}, {TAIL}", "expected": place}
        | {"kind": "recall", "entity": name, "value": place}
        for name, place in MADE.items()
    )
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (scratch / "examples.jsonl").write_text(lines, encoding="utf-8")
    augment = AugmentSpec(
        output=str(scratch / "augmenter"),
        tokenizer=str(anchor),
        documents=str(scratch / "documents.jsonl"),
        examples=str(scratch / "examples.jsonl"),
        steps=AUGMENT_STEPS,
    )
    compose = ComposeSpec(
        output=str(scratch / "composition"),
        anchor=str(anchor),
        augmenters=(augment.output,),
        examples=str(scratch / "examples.jsonl"),
        steps=COMPOSE_STEPS,
    )
    return augment, compose
