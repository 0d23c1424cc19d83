"""Study a large corpus: document by document, slice by slice, by several processes. Knows no model.

A small corpus is studied as one (`selfstudy.study`). Of a large one every lesson comes from one
document, so that it can be left out with it, and no more is held than a slice. Three things are
known of the whole: about how often a word stands in it, how curators ask for an attribute, and
which questions have two answers; those are asked of nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from calm_engine import preparing
from calm_engine.digests import file_digest
from calm_engine.preparing import Slice, replace_file, rows_of, slices
from calm_engine.selfstudy import Lesson, Source, study
from calm_engine.selfstudy.checking import checked
from calm_engine.selfstudy.claims import words_of
from calm_engine.selfstudy.filters import AMBIGUOUS, ASKED
from calm_engine.selfstudy.nouns import WRITTEN
from calm_engine.selfstudy.preparing import facts_of
from calm_engine.selfstudy.prompts import requests_of
from calm_engine.selfstudy.saying import passages_of
from calm_engine.selfstudy.wordings import Wording, asked_for, wordings_of
from calm_engine.selfstudy.words import plain
from calm_engine.spreading import spread

FORMAT = 4  # changes with what is made of a document
LESSONS, PROBES, STUDIED = "lessons.jsonl", "probes.jsonl", "studied.json"
KEPT = ("digest", "form", "given", "said", "ends", "kind")  # of a lesson
CELLS = 1 << 23  # of the sketch of how often words stand in the corpus, a byte each

Pairs = np.ndarray[Any, np.dtype[np.uint64]]  # (asked, 2): marks of a question and of its answer


@dataclass(frozen=True)
class Studying:
    """What is studied, and how.

    documents  JSON lines
    examples   a curator's rows, of which only the wordings are taken
    without    kinds of lessons that are left out
    kept       what a model wrote, by the key of its request
    """

    documents: str
    examples: tuple[dict[str, str], ...] = ()
    without: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """What decides the lessons."""
        kept = sorted(self.kept.items())
        rest = [FORMAT, preparing.SLICE, self.examples, sorted(self.without), kept]
        told = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
        return f"{file_digest(Path(self.documents))} {told}"


@dataclass(frozen=True)
class Studied:
    """What came of it.

    lessons, probes   files of JSON lines (`selfstudy.Lesson`)
    facts    that were found;  kinds  lessons by kind;  dropped  by "kind: reason"
    """

    lessons: Path
    probes: Path
    facts: int
    kinds: dict[str, int]
    dropped: dict[str, int]


class Sketch:
    """About how often each word stands in a corpus: never too few, up to 255."""

    def __init__(self) -> None:
        self.cells = np.zeros(CELLS, dtype=np.uint8)

    def add(self, found: Mapping[int, int]) -> None:
        """Counts by cell."""
        at = np.fromiter(found.keys(), dtype=np.int64, count=len(found))
        more = np.fromiter(found.values(), dtype=np.int64, count=len(found))
        self.cells[at] = np.minimum(255, self.cells[at] + more)

    def __getitem__(self, word: str) -> int:
        return int(self.cells[_mark(word) % CELLS])


def cells_of(words: Iterable[str]) -> dict[int, int]:
    """How often words stand somewhere, by their cells of a sketch."""
    found: Counter[int] = Counter()
    for word, count in Counter(words).items():
        found[_mark(word) % CELLS] += count
    return dict(found)


@dataclass(frozen=True)
class Whole:
    """What is known of the corpus as a whole: see the head of this file."""

    often: Sketch
    asked: Mapping[str, list[Wording]]


def study_apart(asked: Studying, folder: Path, *, workers: int = 1) -> Iterator[tuple[int, int]]:
    """Write lessons and probes into the folder, unless they lie there: (slices done, in all) after
    each, of which there are twice as many as shards, since the corpus is read twice.

    Raises InputError: "data.file", "data.json", "data.row".
    """
    key = asked.key()
    if _is_whole(folder, key):
        return
    folder.mkdir(parents=True, exist_ok=True)
    work = slices((asked.documents,))
    total = 2 * len(work)
    whole, done = Whole(Sketch(), {}), 0
    counted: dict[str, dict[str, Counter[str]]] = {}
    for cells, asks, name in spread(partial(_look, asked), work, workers):
        whole.often.add(cells)
        counted[name] = asks
        done += 1
        yield done, total
    ordered = [counted[one.name] for one in work]  # whichever came first
    whole = replace(whole, asked=wordings_of(asked.examples, _summed(ordered)))
    pairs: list[Pairs] = []
    sums: Counter[str] = Counter()
    for found, counts in spread(partial(_say, asked, whole, folder), work, workers):
        pairs.append(found)
        sums.update(counts)
        done += 1
        yield done, total
    told = _gather(folder, [one.name for one in work], _with_two_answers(pairs), sums)
    replace_file(folder / STUDIED, json.dumps(told | {"key": key}))


def studied(folder: Path) -> Studied:
    """What `study_apart` left there."""
    told = json.loads((folder / STUDIED).read_text(encoding="utf-8"))
    counts = {name: told[name] for name in ("facts", "kinds", "dropped")}
    return Studied(folder / LESSONS, folder / PROBES, **counts)


def _is_whole(folder: Path, key: str) -> bool:
    try:
        told = json.loads((folder / STUDIED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(told["key"] == key)


def probes_about(probes: Path, digests: Collection[str]) -> Iterator[Lesson]:
    """The held-out questions about some documents."""
    with probes.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["digest"] in digests:
                yield Lesson(**row)


def _look(asked: Studying, one: Slice) -> tuple[dict[int, int], dict[str, Counter[str]], str]:
    """Of a slice: how often words stand in it, and what examples ask for in it."""
    documents = list(_documents(one))
    often = cells_of(chain.from_iterable(words_of(each.text) for each in documents))
    facts = [fact for each in documents for fact in facts_of([each])]
    return often, asked_for(asked.examples, facts), one.name


def _say(asked: Studying, whole: Whole, folder: Path, one: Slice) -> tuple[Pairs, Counter[str]]:
    """Write a slice's lessons and probes; what they ask and answer, and how many there are."""
    pairs: list[tuple[int, int]] = []
    told: Counter[str] = Counter()
    with (
        (folder / f"{one.name}.{LESSONS}").open("w", encoding="utf-8") as lessons,
        (folder / f"{one.name}.{PROBES}").open("w", encoding="utf-8") as probes,
    ):
        for document in _documents(one):
            found = study(
                [document],
                without=(*asked.without, "passage"),
                written=tuple(checked(_written(asked, document), told)),
                asked=whole.asked,
                often=whole.often,
            )
            told.update({"facts": len(found.found)} | found.dropped)
            for file, said in (
                (lessons, chain.from_iterable((*found.facts, *found.points))),
                (probes, found.held_out),
            ):
                for each in dict.fromkeys(said):
                    file.write(f"{json.dumps({name: getattr(each, name) for name in KEPT})}\n")
                    if _has_one_answer(each.form, each.kind):
                        pairs.append((_mark(plain(each.given)), _mark(plain(each.said))))
    return np.array(pairs, dtype=np.uint64).reshape(-1, 2), told


def _written(asked: Studying, document: Source) -> Iterator[tuple[Any, str]]:
    """What a model wrote of a document."""
    for passage in passages_of(document) if asked.kept else ():
        kinds = tuple(kind for kind in WRITTEN if kind not in asked.without)
        for request in requests_of(document, passage.said.strip(), kinds):
            if request.key in asked.kept:
                yield request, asked.kept[request.key]


def _documents(one: Slice) -> Iterator[Source]:
    for _, row in rows_of(one):
        yield Source(str(row["digest"]), str(row.get("title", "")), str(row["text"]))


def _summed(found: Sequence[dict[str, Counter[str]]]) -> dict[str, Counter[str]]:
    total: dict[str, Counter[str]] = {}
    for one in found:
        for question, attributes in one.items():
            total.setdefault(question, Counter()).update(attributes)
    return total


def _with_two_answers(pairs: Sequence[Pairs]) -> frozenset[int]:
    """Marks of the questions that the corpus answers in more than one way."""
    every = np.unique(np.concatenate([*pairs, np.empty((0, 2), dtype=np.uint64)]), axis=0)
    questions, answers = np.unique(every[:, 0], return_counts=True)
    return frozenset(questions[answers > 1].tolist())


def _gather(
    folder: Path, names: Sequence[str], twice: frozenset[int], sums: Counter[str]
) -> dict[str, Any]:
    """One file of all slices' lessons and one of their probes, less what has two answers."""
    kinds: Counter[str] = Counter()
    for ending in (LESSONS, PROBES):
        with (folder / ending).open("w", encoding="utf-8") as out:
            for name in names:
                path = folder / f"{name}.{ending}"
                with path.open(encoding="utf-8") as part:
                    for line in part:
                        row = json.loads(line)
                        is_asked = _has_one_answer(row["form"], row["kind"])
                        if is_asked and _mark(plain(row["given"])) in twice:
                            sums[f"{row['kind']}: {AMBIGUOUS}"] += ending == LESSONS
                            continue
                        kinds[row["kind"]] += ending == LESSONS
                        out.write(line)
                path.unlink()
    facts = sums.pop("facts", 0)
    return {"facts": facts, "kinds": dict(+kinds), "dropped": dict(+sums)}


def _has_one_answer(form: str, kind: str) -> bool:
    """Whether a lesson misleads where another document answers it in another way."""
    return form in (*ASKED, "cloze", "inverse cloze") or kind == "inverse"


def _mark(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())
