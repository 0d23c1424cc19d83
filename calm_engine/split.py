"""Which examples the bridges may see, and which are kept to ask them later. Standard library only.

Split by entity and by value, never by question: a bridge that has seen one wording of a fact has
seen the fact, and one that has seen every value may have learned them as a code book. Of many tasks
a quarter is held out whole: whoever has seen it done with other entities has learned the task.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

Share = Literal["bridge", "unseen_entity", "unseen_value", "unseen_skill"]

# A family of fewer values is a closed list (yes and no, nine product lines): there is no unseen
# value in it that anybody could ever ask about.
OPEN_FAMILY = 12
PLAIN = "recall"  # the kind that is no task of its own
MANY_SKILLS = 4  # kinds of tasks from which on one can be spared
MENTIONED, MENTIONED_SHARE = 20, 0.02  # rows about others, and share of all, that may hold a name


def split_examples(
    examples: Iterable[Mapping[str, str]],
    *,
    seed: int,
    entity_share: float = 0.3,
    value_share: float = 1 / 3,
    skill_share: float = 1 / 4,
) -> dict[str, Share]:
    """Say for each example's id whether the bridges may train on it.

    examples      rows with "id", "question", "entity", "value", "kind" (and whatever else)
    entity_share  share of the entities that no training example mentions
    value_share   share of each open family's values that no training example mentions; values
                  that answer the same question form a family (of at least `OPEN_FAMILY`)
    skill_share   share of the kinds, of at least `MANY_SKILLS` besides plain recall, of which the
                  bridges see nothing: what else is left of them is "unseen_skill"

    An entity with one held-out value is held out with all its examples: those whose own value is
    held out are "unseen_value", its others "unseen_entity". So is whatever names it in its words,
    whatever else it is about, and whatever says the same. The same rows and seed give the same
    answer in any order of rows.
    """
    rows = [dict(row) for row in examples]
    values = Names(_held_out_values(rows, seed=seed, share=value_share))
    about = {_plain(row["entity"]) for row in rows if _is_about(row, values)} - {""}
    others = {_plain(row["entity"]) for row in rows} - about - {""}
    hidden = about | set(_first(others, "entity", seed=seed, share=entity_share))
    named = Names(hidden - _words(rows, Names(hidden)))
    kinds = {row.get("kind", PLAIN) for row in rows} - {PLAIN}
    skills = _first(kinds, "skill", seed=seed, share=skill_share)
    spared = skills if len(kinds) >= MANY_SKILLS else []
    shares: dict[str, Share] = {}
    for row in rows:
        if _is_about(row, values):
            shares[row["id"]] = "unseen_value"
        elif _plain(row["entity"]) in hidden or named.stand_in(*_said(row)):
            shares[row["id"]] = "unseen_entity"
        else:
            shares[row["id"]] = "unseen_skill" if row.get("kind") in spared else "bridge"
    return _twins_together(rows, shares)


def _twins_together(rows: list[dict[str, str]], shares: dict[str, Share]) -> dict[str, Share]:
    """Rows that say the same but for order, case and signs stand on one side: the held-out one."""
    ordered = sorted(rows, key=lambda row: shares[row["id"]])  # so that no order of rows decides
    held = {_key(row): shares[row["id"]] for row in ordered if shares[row["id"]] != "bridge"}
    alike = {row["id"]: held.get(_key(row)) for row in rows}
    return {name: alike[name] or share for name, share in shares.items()}


def _key(row: Mapping[str, str]) -> frozenset[str]:
    return frozenset(_plain(" ".join(_said(row))).split())


class Names:
    """Names to be found in words: each run of words is looked up, however many names there are."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(map(_plain, names)) - {""}
        self._longest = max((name.count(" ") + 1 for name in self.names), default=0)

    def found_in(self, *texts: str) -> set[str]:
        """Those that stand in any of the texts, as whole words in any case."""
        runs = (run for text in texts for run in self._runs(_plain(text).split()))
        return {run for run in runs if run in self.names}

    def stand_in(self, *texts: str) -> bool:
        """Whether any of them does."""
        return bool(self.found_in(*texts))

    def _runs(self, words: list[str]) -> Iterator[str]:
        for start in range(len(words)):
            for length in range(1, min(self._longest, len(words) - start) + 1):
                yield " ".join(words[start : start + length])


def _words(rows: list[dict[str, str]], names: Names) -> set[str]:
    """Names that many rows about others hold: words, by which nobody is recognised."""
    counted: Counter[str] = Counter()
    for row in rows:
        counted.update(names.found_in(*_said(row)) - {_plain(row["entity"])})
    most = max(MENTIONED, len(rows) * MENTIONED_SHARE)
    return {name for name, count in counted.items() if count > most}


def _said(row: Mapping[str, str]) -> tuple[str, str]:
    return row["question"], row.get("answer", "")


def _is_about(row: Mapping[str, str], values: Names) -> bool:
    """Whether a held-out value is the row's value or is named anywhere in its words."""
    return values.stand_in(row.get("value", ""), *_said(row))


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
