"""Takes running heads and broken hyphens out of a text, and says how good it is.

Works on one document alone; what repeats over the documents of a corpus is found elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter

EDGE = 2  # lines at the top and the bottom of a page that may be a running head
SHARE = 0.6  # of the pages that must carry it
PAGES = 4  # fewer pages say nothing
NUMBER = re.compile(r"\W*(?:page|seite|pagina|página|p)?\W*\d+(?:\W*(?:of|von|de|sur)?\W*\d+)?\W*")
SHORT = 120  # characters; longer lines are text


def without_running_heads(pages: list[str]) -> list[str]:
    """Pages without the lines that stand at the edge of most of them, whatever their numbers."""
    if len(pages) < PAGES:
        return pages
    split = [page.strip("\n").split("\n") for page in pages]
    seen = Counter(key for lines in split for key in {shape(line) for line in edges(lines)})
    heads = {key for key, count in seen.items() if key and count >= SHARE * len(pages)}
    return ["\n".join(trimmed(lines, heads)) for lines in split] if heads else pages


def edges(lines: list[str]) -> list[str]:
    return [line for line in lines[:EDGE] + lines[EDGE:][-EDGE:] if len(line) < SHORT]


def shape(line: str) -> str:
    """What makes two edge lines the same: their words, or that both only number their page."""
    plain = " ".join(line.split()).casefold()
    return "#" if NUMBER.fullmatch(plain) else plain


def trimmed(lines: list[str], heads: set[str]) -> list[str]:
    kept = list(lines)
    for at in (0, -1):
        for _ in range(EDGE):
            if kept and len(kept[at]) < SHORT and shape(kept[at]) in heads:
                kept.pop(at)
    return kept if any(map(str.strip, kept)) else lines  # a page of nothing else is its text


def joined_hyphens(text: str) -> str:
    """Words broken at a line's end made whole, unless the text writes them with the hyphen too."""
    whole = Counter(re.findall(r"\w+-\w+", text))

    def join(match: re.Match[str]) -> str:
        first, second = match[1], match[2]
        mark = "-" if whole[f"{first}-{second}"] else ""
        return f"{first}{mark}{second}\n"

    return re.sub(r"(\w{2,})[-\u00ad\u2010]\n[ \t]*([a-z\u00df-\u00ff]\w+)[ \t]*", join, text)


def doubts(text: str) -> list[str]:
    """Why a text may be of little use, as stable words: garbled, symbols, repetitive, short."""
    found = []
    letters = sum(c.isalpha() for c in text)
    full = sum(not c.isspace() for c in text) or 1
    strange = sum(c == "\ufffd" or "\ue000" <= c <= "\uf8ff" for c in text)
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 20]
    if strange / full > 0.01:
        found.append("garbled")
    if letters / full < 0.4 and "|" not in text:
        found.append("symbols")
    if len(lines) >= 20 and len(set(lines)) < 0.5 * len(lines):
        found.append("repetitive")
    if len(text) < 40:
        found.append("short")
    return found
