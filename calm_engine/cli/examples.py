"""calm examples: questions with answers from what documents state, shared out and held out."""

from __future__ import annotations

from typing import Any

from calm_engine.cli.running import add_run


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_run(
        verbs,
        "examples",
        told="write questions with their answers from what documents state",
        example="calm examples --documents corpus.jsonl --output examples",
    )
    parser.add_argument(
        "--written",
        dest="writes",
        action="store_true",
        default=None,
        help="have the anchor write questions too, each with its passage in view",
    )
