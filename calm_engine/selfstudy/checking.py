"""What a model wrote is kept only when the passage bears it out. Counts what is dropped, and why.

A small model writes much that is not so: every number and name of an answer must stand in its
passage, and most of its other words. Knows words alone; asks no second model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from calm_engine.selfstudy.nouns import Lesson
from calm_engine.selfstudy.prompts import Request, lesson_from
from calm_engine.selfstudy.words import plain, tag_of

FORMLESS, COPY = "not in the form that was asked for", "a copy of the passage"
UNSUPPORTED, TWICE = "not supported by the passage", "written before"
RUN, COPIED = 6, 0.6  # words in a row, and the share of such runs that makes a copy
# The share of an answer's longer words that must stand in the passage: all of an answer that is to
# be taken from it, fewer where other words were asked for.
WANTED = {"question": 1.0, "reverse": 1.0, "relation": 0.7, "summary": 0.6}
WANTED_ELSE = 0.5
MOST_WORDS = {"question": 16, "reverse": 8}  # of an answer that is to be short


def checked(
    written: Iterable[tuple[Request, str]], dropped: Counter[str]
) -> Iterator[tuple[Lesson, ...]]:
    """The lessons that may be taught; `dropped` counts the others by "kind: reason"."""
    seen: set[tuple[str, str]] = set()
    for request, text in written:
        lesson = lesson_from(request, text, tag_of(request.source.title))
        reason = FORMLESS if lesson is None else reason_against(lesson, request.passage)
        if lesson is not None and not reason:
            key = (plain(lesson.given), plain(lesson.said))
            if key not in seen:
                seen.add(key)
                yield (lesson,)
                continue
            reason = TWICE
        dropped[f"{request.kind}: {reason}"] += 1


def reason_against(lesson: Lesson, passage: str) -> str:
    """Why a lesson cannot be taught from this passage; "" when it can."""
    said = lesson.said.strip()
    if len(said.split()) > MOST_WORDS.get(lesson.kind, 80):
        return FORMLESS
    if lesson.form == "statement" and _copied(said, passage) > COPIED:
        return COPY
    held = set(plain(passage).split())
    if any(plain(word) not in held for word in _names(said) if " " not in plain(word)):
        return UNSUPPORTED
    words = [word for word in plain(said).split() if len(word) > 3]
    found = sum(word in held for word in words) / len(words) if words else 1.0
    return "" if found >= WANTED.get(lesson.kind, WANTED_ELSE) else UNSUPPORTED


def _names(said: str) -> list[str]:
    """Numbers, and words with a capital that no sentence begins with."""
    return re.findall(r"\b\d+\b|(?<![.!?] )(?<!^)\b[A-Z]\w+", said)


def _copied(said: str, passage: str) -> float:
    """The share of the runs of words of what was said that stand in the passage as they are."""
    words, held = plain(said).split(), f" {plain(passage)} "
    runs = [" ".join(words[i : i + RUN]) for i in range(max(1, len(words) - RUN + 1))]
    return sum(f" {run} " in held for run in runs) / len(runs)
