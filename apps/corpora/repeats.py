"""Finds paragraphs that many documents share: disclaimers, signatures, licence texts. Pure.

Source: lossy counting, Manku and Motwani 2002, "Approximate frequency counts over data streams":
what stands in at least a share of the documents is found, in memory that does not grow with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

LEAST = 40  # characters: shorter paragraphs are headings and facts, and facts are to be learned
SHARE = 0.02  # of the documents that must have it
FEWEST = 5  # documents, however small the corpus
ERROR = 0.001  # of the documents by which a count may fall short


@dataclass(frozen=True)
class Paragraph:
    """One paragraph by its characters in a text, and the key of its words."""

    start: int
    end: int
    key: int


def paragraphs(text: str, keys: set[int] | None = None) -> Iterator[Paragraph]:
    """Blocks between empty lines, long enough to be told from facts; only those of `keys`, if any
    are given."""
    if keys is not None and not keys:
        return
    for match in re.finditer(r"\S[^\n]*(?:\n[^\S\n]*\S[^\n]*)*", text):
        words = " ".join(match[0].split())
        if len(words) >= LEAST:
            one = Paragraph(match.start(), match.end(), key(words))
            if keys is None or one.key in keys:
                yield one


def key(words: str) -> int:
    """The same for the same words, whatever their case and spaces; stored, so never change it."""
    plain = " ".join(words.split()).casefold().encode()
    return int.from_bytes(blake2b(plain, digest_size=8).digest(), "little", signed=True)


class Counting:
    """In how many documents each paragraph stood, for those that stand in many."""

    def __init__(self) -> None:
        self.documents = 0
        self._seen: dict[int, tuple[int, int, str]] = {}  # key: (count, missed at most, a sample)

    def add(self, text: str) -> None:
        """Count one document's paragraphs, each once."""
        self.documents += 1
        now = int(self.documents * ERROR)
        for one in {one.key: one for one in paragraphs(text)}.values():
            count, missed, sample = self._seen.get(
                one.key, (0, now, text[one.start : one.end][:2000])
            )
            self._seen[one.key] = (count + 1, missed, sample)
        if self.documents % round(1 / ERROR) == 0:
            self._seen = {
                known: told for known, told in self._seen.items() if told[0] + told[1] > now
            }

    def many(self) -> dict[int, tuple[int, str]]:
        """{key: (documents, a sample)} of what stands in many of them."""
        bar = max(FEWEST, (SHARE - ERROR) * self.documents)
        return {k: (count, sample) for k, (count, _m, sample) in self._seen.items() if count >= bar}
