"""calm compose: train the bridges between an anchor and augmenters."""

from __future__ import annotations

from typing import Any

from calm_engine.cli.running import add_run


def add(verbs: Any) -> None:
    """The verb and its flags."""
    parser = add_run(
        verbs,
        "compose",
        told="train the bridges between an anchor and augmenters",
        example="calm compose --anchor models/smollm2 --augmenter models/ours "
        "--examples questions.jsonl --output models/together",
    )
    parser.add_argument("--connections", metavar="A:B,...", help="augmenter to anchor layers")
    parser.add_argument(
        "--sieve",
        action="store_true",
        default=None,
        help="with --passages: learn only from examples that pass the three-way test",
    )
    parser.add_argument("--paper", action="store_true", help="the paper's exact form of bridge")
