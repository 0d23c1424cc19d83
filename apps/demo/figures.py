"""What `demo-check` holds the product to: the report's cells, and answers from the served model."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from apps.corpora import actions as corpora
from apps.demo.road import MODEL, Road
from apps.evaluation.models import Report
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope

ASKED = 24  # questions through each door: enough to see a door that answers otherwise
RECALL, TIMES_PUBLIC = "recall", "private_times_public"
HELD_OUT: tuple[str, ...] = ("unseen_entity", "unseen_value")

# name -> (column, kind, slices); the bar is a floor or a ceiling
CELLS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "composition": ("composition", RECALL, HELD_OUT),
    "private_times_public": ("composition", TIMES_PUBLIC, ("unseen_value",)),
    "anchor": ("anchor", RECALL, HELD_OUT),
    "augmenter": ("augmenter", RECALL, HELD_OUT),
    "random_augmenter": ("random", RECALL, HELD_OUT),
}
# What a card with rivals is held to besides: name -> (column, kind, slices).
CARD_CELLS: dict[str, tuple[str, str, tuple[str, ...]]] = (
    {
        f"{column}_{name}": (column, kind, HELD_OUT)
        for column in ("anchor_rag", "composition_rag", "anchor_lora", "scrambled")
        for name, kind in (("recall", RECALL), ("times_public", TIMES_PUBLIC))
    }
    | {
        f"{column}_public": (column, "general", ("public",))
        for column in ("composition", "anchor", "anchor_lora")
    }
    | {
        "unseen_value_recall": ("composition", RECALL, ("unseen_value",)),
        "unseen_value_times_public": ("composition", TIMES_PUBLIC, ("unseen_value",)),
        "edits_followed": ("swapped", f"counterfactual:{RECALL}", HELD_OUT),
        "edits_followed_times_public": ("swapped", f"counterfactual:{TIMES_PUBLIC}", HELD_OUT),
        "mismatched": ("swapped", RECALL, HELD_OUT),
        "canary_planted": ("composition", "canary", ("planted",)),
        "canary_not_planted": ("composition", "canary", ("not_planted",)),
        "other_corpus": ("composition", "other_corpus", ("not_learned",)),
        "verbatim": ("composition", "verbatim", ("documents",)),
    }
)
CARD_FLOORS = {
    "attribution": 0.9,
    "attribution_low": 0.8,
    "composition": 0.95,
    "unseen_value_recall": 0.95,
    "unseen_value_times_public": 0.85,
    "edits_followed": 0.9,
    "reading_gained": 0.0,
}
CARD_CEILINGS = {"scrambled_recall": 0.15, "mismatched": 0.15, "public_lost": 0.01}
FLOORS = {"composition": 0.9, "private_times_public": 0.8, "chat": 0.8, "api": 0.8}
CEILINGS = {"anchor": 0.10, "random_augmenter": 0.20, "seconds": 1200, "peak_rss_mb": 6144}


@dataclass(frozen=True)
class Question:
    question: str
    expected: str
    kind: str
    slice: str


def of_card(report: Report) -> dict[str, float]:
    """What only a card with rivals and public questions tells."""
    found = from_cells(report.cells, CARD_CELLS)
    found["public_lost"] = round(found["anchor_public"] - found["composition_public"], 3)
    gains = [
        found[f"composition_rag_{name}"] - found[f"anchor_rag_{name}"]
        for name in ("recall", "times_public")
        if f"composition_rag_{name}" in found
    ]
    if gains:  # what the composition adds for whoever reads, where it adds least
        found["reading_gained"] = round(min(gains), 3)
    rows = [
        row
        for row in report.figures["attribution"]
        if row["kind"] == RECALL and row["slice"] in HELD_OUT
    ]
    for name, key in (("attribution", "value"), ("attribution_low", "low")):
        found[name] = round(min(row[key] for row in rows), 3) if rows else 0.0
    return found


def from_cells(
    cells: Sequence[dict[str, Any]], named: Mapping[str, tuple[str, str, tuple[str, ...]]] = CELLS
) -> dict[str, float]:
    """Accuracies pooled over the named slices of a report: right answers over questions asked."""
    figures = {}
    for name, (column, kind, slices) in named.items():
        chosen = [
            cell
            for cell in cells
            if (cell["column"], cell["kind"]) == (column, kind) and cell["slice"] in slices
        ]
        asked = sum(cell["n"] for cell in chosen)
        if asked:
            figures[name] = round(sum(cell["value"] * cell["n"] for cell in chosen) / asked, 3)
    return figures


def held_out(road: Road, *, count: int = ASKED) -> list[Question]:
    """A seeded draw of held-out questions, half of them private fact times public skill."""
    with tenant_scope(road.tenant):
        files = corpora.export_snapshot(road.snapshot, road.home / "demo" / "export")
    rows = [json.loads(line) for line in Path(files.held_out).read_text("utf-8").splitlines()]
    fields = ("question", "expected", "kind", "slice")
    chosen = [
        Question(**{name: row[name] for name in fields}) for row in rows if row["slice"] != "seen"
    ]
    chance = random.Random(road.seed)  # noqa: S311  a draw of questions, not a secret
    private = [one for one in chosen if one.kind == RECALL]
    public = [one for one in chosen if one.kind == TIMES_PUBLIC]
    return chance.sample(private, count // 2) + chance.sample(public, count - count // 2)


def share_right(questions: Sequence[Question], ask: Callable[[str], str]) -> float:
    """The share of questions whose answer says what was expected."""
    right = sum(one.expected.lower() in ask(one.question).lower() for one in questions)
    return round(right / len(questions), 3)


def through_chat(road: Road, questions: Sequence[Question]) -> dict[str, float]:
    """Ask as the employee in the web chat's own endpoint; also the median wait for a token."""
    waits = []
    with road.visitor(Role.EMPLOYEE) as employee:

        def ask(question: str) -> str:
            reply = employee.ask(question, model=MODEL)
            waits.append(reply.first_token_seconds)
            return reply.text

        share = share_right(questions, ask)
    return {"chat": share, "chat_first_token_ms": round(sorted(waits)[len(waits) // 2] * 1000)}


def through_api(address: str, key: str, questions: Sequence[Question]) -> dict[str, float]:
    """Ask with the official client."""
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=key)

    def ask(question: str) -> str:
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=32
        )
        return answer.choices[0].message.content or ""

    return {"api": share_right(questions, ask)}


def missed(figures: dict[str, float], *, with_rivals: bool = False) -> list[str]:
    """Every bar that is not met, in words; a figure that was not measured is not met.

    with_rivals   the bars of the whole card count as well, and how long it took does not
    """
    floors = FLOORS | (CARD_FLOORS if with_rivals else {})
    ceilings = CEILINGS | (CARD_CEILINGS | {"seconds": math.inf} if with_rivals else {})
    words = [
        f"{name} is {figures.get(name, 'missing')}, at least {bar} is wanted"
        for name, bar in floors.items()
        if figures.get(name, -1.0) < bar
    ]
    return words + [
        f"{name} is {figures.get(name, 'missing')}, at most {bar} is wanted"
        for name, bar in ceilings.items()
        if figures.get(name, bar + 1) > bar
    ]


def peak_memory_mb(home: Path) -> int:
    """What `counterpoint.services` sampled: resident bytes of all our processes at once."""
    time.sleep(1.0)  # its next sample
    return int(json.loads((home / "peak.json").read_text(encoding="utf-8"))["peak_rss_mb"])
