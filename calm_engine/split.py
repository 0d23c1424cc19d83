"""Which examples the bridges may see, and which are kept to ask them later. Standard library only.

Split by entity and by value, never by question: a bridge that has seen one wording of a fact has
seen the fact, and one that has seen every value may have learned them as a code book.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

Share = Literal["bridge", "unseen_entity", "unseen_value"]

# A family of fewer values is a closed list (yes and no, nine product lines): there is no unseen
# value in it that anybody could ever ask about.
OPEN_FAMILY = 12


def split_examples(
    examples: Iterable[Mapping[str, str]],
    *,
    seed: int,
    entity_share: float = 0.3,
    value_share: float = 1 / 3,
) -> dict[str, Share]:
    """Say for each example's id whether the bridges may train on it.

    examples      rows with "id", "question", "entity", "value" (and whatever else)
    entity_share  share of the entities that no training example mentions
    value_share   share of each open family's values that no training example mentions; values
                  that answer the same question form a family (of at least `OPEN_FAMILY`)

    An entity with one held-out value is held out with all its examples: those whose own value is
    held out are "unseen_value", its others "unseen_entity". The same rows and seed give the same
    answer in any order of rows.
    """
    rows = [dict(row) for row in examples]
    values = _held_out_values(rows, seed=seed, share=value_share)
    hidden = {_plain(row["entity"]) for row in rows if _is_about(row, values)} - {""}
    others = {_plain(row["entity"]) for row in rows} - hidden - {""}
    hidden |= set(_first(others, "entity", seed=seed, share=entity_share))
    return {row["id"]: _share(row, hidden, values) for row in rows}


def _share(row: Mapping[str, str], entities: set[str], values: set[str]) -> Share:
    if _is_about(row, values):
        return "unseen_value"
    return "unseen_entity" if _plain(row["entity"]) in entities else "bridge"


def _is_about(row: Mapping[str, str], values: set[str]) -> bool:
    """Whether a held-out value is the row's value or is named anywhere in its words."""
    if _plain(row.get("value", "")) in values:
        return True
    words = f" {_plain(row['question'])} {_plain(row.get('answer', ''))} "
    return any(f" {value} " in words for value in values)


def _held_out_values(rows: list[dict[str, str]], *, seed: int, share: float) -> set[str]:
    held: set[str] = set()
    for family in _families(rows):
        if len(family) >= OPEN_FAMILY:
            held |= set(_first(family, "value", seed=seed, share=share))
    return held


def _families(rows: list[dict[str, str]]) -> list[set[str]]:
    """Values joined whenever they answer the same question asked of different entities."""
    asked: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        value = _plain(row.get("value", ""))
        if value:
            pattern = _plain(row["question"]).replace(_plain(row["entity"]) or "\0", "*")
            asked[pattern].add(value)
    families: list[set[str]] = []
    for found in asked.values():
        joined = set(found).union(*(one for one in families if one & found))
        families = [one for one in families if not one & found] + [joined]
    return families


def _first(names: Iterable[str], what: str, *, seed: int, share: float) -> list[str]:
    """A stable choice: the share of names whose digests come first."""
    ranked = sorted(names, key=lambda name: _digest(f"{seed}:{what}:{name}"))
    return ranked[: round(len(ranked) * share)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(text: str) -> str:
    """Lower case, words only, one space between them: what counts as the same name."""
    return " ".join(re.findall(r"\w+", text.lower()))
