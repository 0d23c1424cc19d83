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

CARD = "card.md"  # in the report's folder, by the engine


@dataclass(frozen=True)
class Answer:
    """What one column said: `is_right` when the expected words stand in it."""

    column: str
    text: str
    is_right: bool


@dataclass(frozen=True)
class Item:
    """One question of the set, what was expected, and the answers side by side.

    corpus    where there are several
    is_shared   it shares words with an example that the bridges learned from
    """

    id: str
    question: str
    expected: str
    kind: str
    slice: str
    answers: tuple[Answer, ...]
    corpus: str = ""
    is_shared: bool = False

    def is_right(self, column: str) -> bool:
        return any(each.is_right for each in self.answers if each.column == column)


def read(report: Report) -> list[Item]:
    """Every item of the report; none when its folder is not on this machine."""
    lines = _text(report, report.items_file).splitlines()
    return [_item(json.loads(line)) for line in lines if line.strip()]


def card_of(report: Report) -> str:
    """The report as a page of Markdown; "" when its folder is not on this machine."""
    return _text(report, CARD)


def _text(report: Report, name: str) -> str:
    if not name:
        return ""
    try:
        file = blobs().open_within("report", report.items_digest, name)
    except InternalError as error:
        if error.code != "blob.missing":
            raise
        return ""
    with file:
        return file.read().decode()


def _item(row: Mapping[str, Any]) -> Item:
    said = row["answers"]
    return Item(
        id=str(row["id"]),
        question=str(row["question"]),
        expected=str(row["expected"]),
        kind=str(row["kind"]),
        slice=str(row["slice"]),
        answers=tuple(
            Answer(name, str(said[name]["text"]), bool(said[name]["right"]))
            for name in ordered(said)
        ),
        corpus=str(row.get("corpus", "")),
        is_shared=bool(row.get("overlap")),
    )


def chosen(items: list[Item], show: str, before: Mapping[str, bool] | None = None) -> list[Item]:
    """All of them, those the composition got wrong, or those of these that the anchor got right.

    before   for each question's id whether an earlier version was right: "gained" are those that
             it had wrong and this one right, "forgot" the other way round
    """
    if show in ("gained", "forgot"):
        was = show == "forgot"
        known = [item for item in items if (before or {}).get(item.id) is was]
        return [item for item in known if item.is_right("composition") is not was]
    if show == "wrong":
        return [item for item in items if not item.is_right("composition")]
    if show == "lost":
        wrong = chosen(items, "wrong")
        return [item for item in wrong if item.is_right("anchor")]
    return items


def right_in(report: Report) -> dict[str, bool]:
    """For each question of a report whether its composition answered it rightly."""
    return {item.id: item.is_right("composition") for item in read(report)}
