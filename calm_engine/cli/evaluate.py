"""calm evaluate: ask a composition, its parents and its controls."""

from __future__ import annotations

from typing import Any

from calm_engine.cli.running import add_run
from calm_engine.specs import COLUMNS


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_run(
        verbs,
        "evaluate",
        told="ask one question set of a composition, its parents and its controls",
        example="calm evaluate --composition models/together --anchor models/smollm2 "
        "--augmenter models/ours --questions held-out.jsonl --documents corpus.jsonl "
        "--column anchor_rag --output report",
    )
    parser.add_argument(
        "--column",
        dest="columns",
        action="append",
        metavar="NAME",
        help=f"who is asked besides, once for each: {', '.join(COLUMNS)}",
    )
    parser.add_argument(
        "--no-retention",
        dest="retention",
        action="store_false",
        default=None,
        help="do not ask public questions as well",
    )
