"""What held-out questions share with the examples that bridges learn from. Standard library only.

Two looks, as benchmarks are looked at: a run of eight words that stands in both, and texts that are
nearly the same. How several entities are asked about is a wording and gives nothing away; only what
is particular to few is counted. Sources: runs of eight words, A. Radford et al., Language Models
are Unsupervised Multitask Learners (2019), section 4; runs that recur often left out, T. Brown et
al., arXiv 2005.14165, appendix C; shingles, A. Broder, Resemblance and Containment (1997).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

RUN = 8  # words in a row that two rows do not share by chance
SHINGLE = 3  # words of which texts are made up when they are compared whole
ALIKE = 0.8  # Jaccard of the shingles from which on two texts count as nearly one
WORDING = 3  # entities whose rows hold a run that says nothing of any of them
COMMON = 10  # rows with it, whatever they are about

Row = Mapping[str, str]


@dataclass(frozen=True)
class Overlap:
    """The ids of held-out rows that share something with what is learned, by what they share."""

    run: frozenset[str] = field(default=frozenset())
    near: frozenset[str] = field(default=frozenset())

    @property
    def either(self) -> frozenset[str]:
        return self.run | self.near


def overlap(taught: Sequence[Row], held_out: Sequence[Row]) -> Overlap:
    """Compare rows with "id", "question", "answer" and "entity" (which may be empty)."""
    runs, parts = (_Particular([*taught, *held_out], size) for size in (RUN, SHINGLE))
    met = {gram for row in taught for gram in runs.of(row)}
    texts = _Texts([parts.of(row) for row in taught])
    return Overlap(
        frozenset(row["id"] for row in held_out if met & runs.of(row)),
        frozenset(row["id"] for row in held_out if texts.likeness(parts.of(row)) >= ALIKE),
    )


class _Particular:
    """Runs of so many words, less those that several entities or many rows have in common."""

    def __init__(self, rows: Iterable[Row], size: int) -> None:
        self.size = size
        counted: Counter[str] = Counter()
        about: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            name = row.get("entity", "").casefold()
            for gram in set(_grams(row, size)):
                counted[gram] += 1
                if name and len(about[gram]) < WORDING:
                    about[gram].add(name)
        several = {gram for gram, names in about.items() if len(names) >= WORDING}
        self.wordings = several | {gram for gram, count in counted.items() if count > COMMON}

    def of(self, row: Row) -> set[str]:
        return set(_grams(row, self.size)) - self.wordings


class _Texts:
    """Texts by their shingles, to find the one that is most like another."""

    def __init__(self, texts: Sequence[set[str]]) -> None:
        self.sizes = [len(text) for text in texts]
        self.holding: dict[str, list[int]] = defaultdict(list)
        for at, text in enumerate(texts):
            for shingle in text:
                self.holding[shingle].append(at)

    def likeness(self, text: set[str]) -> float:
        """The largest Jaccard index of this text and any of them; 0 where nothing is shared."""
        shared = Counter(at for shingle in text for at in self.holding.get(shingle, ()))
        both = ((count, self.sizes[at] + len(text) - count) for at, count in shared.items())
        return max((count / either for count, either in both), default=0.0)


def _grams(row: Row, size: int) -> Iterator[str]:
    """Runs of so many words of the question and its answer; none of a shorter text."""
    words = re.findall(r"\w+", f"{row['question']} {row.get('answer', '')}".casefold())
    for at in range(len(words) - size + 1):
        yield " ".join(words[at : at + size])
