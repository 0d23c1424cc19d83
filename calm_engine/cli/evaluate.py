"""calm evaluate: ask a composition, its parents and its controls."""

from __future__ import annotations

from typing import Any

from calm_engine.cli.running import add_run


def add(verbs: Any) -> None:
    """The verb and its flags."""
    add_run(
        verbs,
        "evaluate",
        told="ask one question set of a composition, its parents and its controls",
        example="calm evaluate --composition models/together --anchor models/smollm2 "
        "--augmenter models/ours --questions held-out.jsonl --output report",
    )
