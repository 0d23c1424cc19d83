"""calm augment: train a small model on documents."""

from __future__ import annotations

from typing import Any

from calm_engine.cli.running import add_run


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_run(
        verbs,
        "augment",
        told="train a small model on documents",
        example="calm augment --tokenizer models/smollm2 --documents corpus.jsonl "
        "--output models/ours",
    )
    parser.add_argument(
        "--without",
        dest="forget",
        action="append",
        metavar="DIGEST",
        help="forget a document: train as if it had never been there; once for each",
    )
