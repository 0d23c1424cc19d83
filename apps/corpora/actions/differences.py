"""What two lists of documents differ in. Pure: both are walked once, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from apps.corpora.manifests import Entry

NAMED = 50  # documents of each kind that are named


@dataclass
class Difference:
    """Documents that came, went, or have the same place and another text than before."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    kept: int = 0
    added_titles: list[str] = field(default_factory=list)
    removed_titles: list[str] = field(default_factory=list)
    changed_titles: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def difference(before: Iterable[Entry], now: Iterable[Entry]) -> Difference:
    """Compare two lists, each in the order of corpus and original digest.

    A document is the same by its original; changed when the text to learn is another one, or when
    one file came and another went at the same path of the same corpus.
    """
    found, came, gone = Difference(), [], []
    for old, new in side_by_side(iter(before), iter(now)):
        if old is None:
            assert new is not None
            came.append((place(new), new.title))
        elif new is None:
            gone.append((place(old), old.title))
        elif old.training == new.training:
            found.kept += 1
        else:
            _note(found, "changed", new.title)
    replaced = {where for where, _title in gone} & {where for where, _title in came}
    for where, title in came:
        _note(found, "changed" if where in replaced else "added", title)
    for where, title in gone:
        if where not in replaced:
            _note(found, "removed", title)
    return found


def place(entry: Entry) -> int:
    """Where a document stands, as one number: a million of them are held at a time."""
    return hash((entry.corpus, entry.path or entry.title))


def _note(found: Difference, kind: str, title: str) -> None:
    setattr(found, kind, getattr(found, kind) + 1)
    named: list[str] = getattr(found, f"{kind}_titles")
    if len(named) < NAMED:
        named.append(title)


Pair = tuple[Entry | None, Entry | None]


def side_by_side(before: Iterator[Entry], now: Iterator[Entry]) -> Iterator[Pair]:
    """Entries of the same original in pairs; None where one list lacks it."""
    old, new = next(before, None), next(now, None)
    while old is not None or new is not None:
        if new is None or (old is not None and _key(old) < _key(new)):
            yield old, None
            old = next(before, None)
        elif old is None or _key(new) < _key(old):
            yield None, new
            new = next(now, None)
        else:
            yield old, new
            old, new = next(before, None), next(now, None)


def _key(entry: Entry) -> tuple[str, str]:
    return entry.corpus, entry.original
