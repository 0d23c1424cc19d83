"""Whether a corpus can be learned from at all, said before anything is trained. Standard library.

Counts as it reads and holds only a sketch, so that a corpus of any size can be looked at.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from calm_engine.errors import InputError

LEAST_TOKENS = 64  # below that there is nothing that a model could be asked about
# A script is shredded where its letters take several tokens each and nearly every byte of them is a
# token of its own: a model then learns spelling instead of facts. Neither alone tells it: a Chinese
# sign says what three or four letters say, and English spelt in bytes has one token a letter.
# SmolLM2's tokenizer takes Thai, Chinese and Korean by pieces and passes; Burmese it spells out.
MOST_TOKENS_PER_CHARACTER = 1.5
MOST_TOKENS_PER_BYTE = 0.9
LINE = 20  # characters from which a line counts as content
FEW_LINES = 200  # a corpus of fewer lines is never called repetitive
LEAST_DISTINCT = 0.05  # share of lines that must differ
SKETCH = 1024  # smallest hashes kept: the count of distinct lines is then right within some 3 %
_SPACE = float(1 << 64)


@dataclass(frozen=True)
class Census:
    """Lines of content, and the smallest hashes of the distinct ones among them.

    Source of the estimate: k minimum values (Bar-Yossef et al., RANDOM 2002).
    """

    lines: int = 0
    smallest: tuple[int, ...] = ()

    @classmethod
    def told(cls, row: dict[str, Any]) -> Census:
        """One that was written down."""
        return cls(row["lines"], tuple(row["smallest"]))

    @classmethod
    def of(cls, texts: Iterable[str]) -> Census:
        """Count the lines of some texts."""
        lines = 0
        held: list[int] = []
        known: set[int] = set()
        for line in _content(texts):
            lines += 1
            told = int.from_bytes(hashlib.blake2b(line.encode(), digest_size=8).digest(), "big")
            if told in known or (len(held) == SKETCH and told >= held[-1]):
                continue
            insort(held, told)
            known.add(told)
            if len(held) > SKETCH:
                known.discard(held.pop())
        return cls(lines, tuple(held))

    def __add__(self, other: Census) -> Census:
        both = sorted({*self.smallest, *other.smallest})
        return Census(self.lines + other.lines, tuple(both[:SKETCH]))

    @property
    def distinct(self) -> float:
        """The share of lines that differ from all others, each repeated one counted once."""
        if not self.lines:
            return 1.0
        held = len(self.smallest)
        count = held if held < SKETCH else (SKETCH - 1) * _SPACE / max(1, self.smallest[-1])
        return min(1.0, count / self.lines)


def _content(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.splitlines():
            told = " ".join(line.split())
            if len(told) >= LINE:
                yield told


@dataclass(frozen=True)
class Script:
    """How a tokenizer takes a text: its tokens, the text's characters, and its bytes in UTF-8."""

    tokens: int
    characters: int
    bytes: int

    def check(self) -> None:
        """Raises InputError("documents.shredded") with what was measured and what may be."""
        per_character = self.tokens / max(1, self.characters)
        per_byte = self.tokens / max(1, self.bytes)
        if per_character > MOST_TOKENS_PER_CHARACTER and per_byte > MOST_TOKENS_PER_BYTE:
            raise InputError(
                "documents.shredded",
                "letters fall apart into bytes",
                per_character=f"{per_character:.1f}",
                per_byte=f"{per_byte:.2f}",
                most=f"{MOST_TOKENS_PER_BYTE:.1f}",
            )


def check_census(tokens: int, script: Script, census: Census) -> None:
    """Raises InputError: "documents.small", "documents.shredded", "documents.repeated"."""
    if tokens < LEAST_TOKENS:
        raise InputError("documents.small", "there is too little text", tokens=tokens)
    script.check()
    if census.lines >= FEW_LINES and census.distinct < LEAST_DISTINCT:
        raise InputError(
            "documents.repeated",
            "nearly all lines are repeated",
            percent=f"{100 * (1 - census.distinct):.0f}",
        )
