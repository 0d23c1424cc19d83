"""Cuts a text into passages: what a search finds and a page shows. Pure; knows no row."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

ROOM = 1200  # characters of a passage, about a third of a page


@dataclass(frozen=True)
class Piece:
    """One passage by its characters in the text, and the page (from 1) on which it begins."""

    start: int
    end: int
    page: int


def pieces(text: str, pages: list[int]) -> list[Piece]:
    """The text as passages of whole paragraphs where these fit, none over a page's end."""
    starts = pages or [0]
    found: list[Piece] = []
    for begin, end in zip(starts, [*starts[1:], len(text)], strict=True):
        at = begin
        while at < end:
            stop = _stop(text, at, end)
            if text[at:stop].strip():
                found.append(Piece(at, stop, max(1, bisect_right(starts, at))))
            at = stop
    return found


def _stop(text: str, at: int, end: int) -> int:
    """Where the passage that begins at `at` ends: behind a paragraph, a line, a word, or hard."""
    if end - at <= ROOM:
        return end
    for gap in (r"\n\n", r"\n", r"\s"):
        breaks = [match.end() for match in re.finditer(gap, text[at : at + ROOM])]
        if breaks and breaks[-1] > ROOM // 4:
            return at + breaks[-1]
    return at + ROOM
