"""The single questions behind a report, each with everybody's answer. They quote the corpus.

Read from the stored folder whenever they are shown; whoever may see the report may see them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.evaluation.matrix import ordered
from apps.evaluation.models import Report
from calm_engine.errors import InternalError
from counterpoint.storage import blobs


@dataclass(frozen=True)
class Answer:
    """What one column said: `is_right` when the expected words stand in it."""

    column: str
    text: str
    is_right: bool


@dataclass(frozen=True)
class Item:
    """One question of the set, what was expected, and the answers side by side."""

    question: str
    expected: str
    kind: str
    slice: str
    answers: tuple[Answer, ...]

    def is_right(self, column: str) -> bool:
        return any(each.is_right for each in self.answers if each.column == column)


def read(report: Report) -> list[Item]:
    """Every item of the report; none when its folder is not on this machine."""
    if not report.items_file:
        return []
    try:
        file = blobs().open_within("report", report.items_digest, report.items_file)
    except InternalError as error:
        if error.code != "blob.missing":
            raise
        return []
    with file:
        lines = file.read().decode().splitlines()
    return [_item(json.loads(line)) for line in lines if line.strip()]


def _item(row: Mapping[str, Any]) -> Item:
    said = row["answers"]
    return Item(
        question=str(row["question"]),
        expected=str(row["expected"]),
        kind=str(row["kind"]),
        slice=str(row["slice"]),
        answers=tuple(
            Answer(name, str(said[name]["text"]), bool(said[name]["right"]))
            for name in ordered(said)
        ),
    )


def chosen(items: list[Item], show: str) -> list[Item]:
    """All of them, those the composition got wrong, or those of these that the anchor got right."""
    if show == "wrong":
        return [item for item in items if not item.is_right("composition")]
    if show == "lost":
        wrong = chosen(items, "wrong")
        return [item for item in wrong if item.is_right("anchor")]
    return items
