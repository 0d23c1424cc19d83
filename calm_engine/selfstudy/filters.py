"""What is left out of a study, and why: duplicates, and questions with more than one answer.

Counts by kind and reason. Knows lessons only; what a model wrote is checked in `checking`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from calm_engine.selfstudy.nouns import WRITTEN, Lesson, Wordings
from calm_engine.selfstudy.words import plain

ASKED = ("question", "inverse")
DUPLICATE, AMBIGUOUS, ECHO = "said before", "several answers", "the question holds the answer"


def sifted(
    taught: Sequence[Wordings], others: Iterable[Lesson] = ()
) -> tuple[list[Wordings], Counter[str]]:
    """The wordings that may be taught, and what was dropped, by "kind: reason".

    others   lessons that are taught anyhow: a question of theirs has its answer
    """
    answers: dict[str, set[str]] = defaultdict(set)
    for one in others:
        if one.form in ASKED:
            answers[plain(one.given)].add(plain(one.said))
    for wordings in taught:
        for one in wordings:
            if one.form in ASKED:
                answers[plain(one.given)].add(plain(one.said))
    kept, dropped = [], Counter[str]()
    seen = {(one.given, one.said) for one in others}
    for wordings in taught:
        stay = []
        for one in wordings:
            reason = _reason(one, answers, seen)
            if reason:
                dropped[f"{one.kind}: {reason}"] += 1
            else:
                seen.add((one.given, one.said))
                stay.append(one)
        if any(one.form in ASKED or one.kind in WRITTEN for one in stay):
            kept.append(tuple(stay))
    return kept, dropped


def unambiguous(probes: Iterable[Lesson], taught: Iterable[Wordings]) -> Wordings:
    """The probe's questions about what is taught that have one answer only."""
    known = {one.about for wordings in taught for one in wordings}
    asked = [one for one in probes if one.about in known]
    answers: dict[str, set[str]] = defaultdict(set)
    for one in asked:
        answers[plain(one.given)].add(plain(one.said))
    return tuple(one for one in asked if not _reason(one, answers, set()))


def _reason(one: Lesson, answers: dict[str, set[str]], seen: set[tuple[str, str]]) -> str:
    if (one.given, one.said) in seen:
        return DUPLICATE
    if one.form not in ASKED:
        return ""
    if len(answers[plain(one.given)]) > 1:
        return AMBIGUOUS
    if plain(one.said) and f" {plain(one.said)} " in f" {plain(one.given)} ":
        return ECHO
    return ""
