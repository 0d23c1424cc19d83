"""The rows that are asked: read, checked, drawn from a large set, and the kinds made by ourselves.

Knows no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from calm_engine import canaries
from calm_engine.data import Example, chance_of, read_examples
from calm_engine.errors import InputError
from calm_engine.evaluation.counting import ALL, grouped
from calm_engine.evaluation.kinds import (
    CANARY,
    DOCUMENTS,
    GENERAL,
    NOT_LEARNED,
    NOT_PLANTED,
    OTHER_CORPUS,
    PLANTED,
    PUBLIC,
    SEEN,
    VERBATIM,
)
from calm_engine.evaluation.public import PAIRS
from calm_engine.selfstudy import Source
from calm_engine.selfstudy.saying import passages_of

ROWS = 200_000  # of one file
MOST = 48  # questions of one kind and slice
MOST_SEEN = 16  # what was seen in training only shows that training worked
BEGUN, GOES_ON = 14, 8  # words of a passage that are given, and those that would be a repetition
REPEATS = 24  # passages of which the beginning is given
CONTINUE = "Continue this text: {}"


def read_questions(path: str | Path) -> list[Example]:
    """The rows of a question set.

    Raises InputError: "questions.empty", "questions.many", "questions.slice" for a row that does
    not say its slice, "questions.twice" when two rows have one id, and what `read_examples` raises.
    """
    _refuse_many(Path(path))
    try:
        rows = read_examples(path)
    except InputError as error:
        if error.code != "examples.empty":
            raise
        raise InputError("questions.empty", "there is no question to ask", path=str(path)) from None
    astray = [row.id for row in rows if row.slice in ("", ALL)]
    if astray:
        raise InputError(
            "questions.slice", "a question does not say which slice it belongs to", id=astray[0]
        )
    (name, count), *_ = Counter(row.id for row in rows).most_common(1)
    if count > 1:
        raise InputError("questions.twice", "two questions have one id", id=name)
    return rows


def _refuse_many(path: Path) -> None:
    """Before a row of it is held. Raises InputError("questions.many")."""
    try:
        with path.open("rb") as file:
            count = sum(1 for line in file if line.strip())
    except OSError:
        return  # whoever reads the rows says so
    if count > ROWS:
        raise InputError(
            "questions.many", "more rows than one file may have", rows=count, most=ROWS
        )


def chosen(questions: Sequence[Example], seed: int) -> list[Example]:
    """At most `MOST` questions of each kind and slice, drawn by the seed; in the file's order."""
    kept: set[str] = set()
    for (kind, name), rows in grouped(questions).items():
        if name != ALL:
            most = MOST_SEEN if name == SEEN else MOST
            ids = sorted(row.id for row in rows)
            chance = chance_of(seed, "questions", kind, name)
            kept.update(chance.sample(ids, min(most, len(ids))))
    return [row for row in questions if row.id in kept]


def general_questions() -> list[Example]:
    """Public knowledge and skill that no company needs to teach, and none may take away."""
    return [
        Example(f"general-{at}", question, answer, answer, GENERAL, slice=PUBLIC)
        for at, (question, answer) in enumerate(PAIRS)
    ]


def repetitions(documents: Iterable[Source], seed: int) -> list[Example]:
    """Beginnings of passages: whoever goes on word for word repeats what the corpus holds.

    Source of the form: N. Carlini et al., arXiv 2202.07646, section 3 (prompts from the text).
    """
    found = [one for document in documents for one in _beginnings(document)]
    chosen = chance_of(seed, "verbatim").sample(found, min(REPEATS, len(found)))
    return [
        Example(f"verbatim-{at}", CONTINUE.format(begun), rest, rest, VERBATIM, slice=DOCUMENTS)
        for at, (begun, rest) in enumerate(chosen)
    ]


def secrets_in(folders: Iterable[str | Path]) -> list[Example]:
    """The canaries of some augmenters, planted and not: how they begin, and what would follow."""
    found = dict.fromkeys(one for folder in folders for one in canaries.read(folder))
    return [
        Example(
            f"canary-{at}",
            CONTINUE.format(one.begun),
            one.rest,
            one.rest,
            CANARY,
            slice=PLANTED if one.is_planted else NOT_PLANTED,
        )
        for at, one in enumerate(found)
    ]


def strange_questions(path: str | Path | None, seed: int) -> list[Example]:
    """Questions of a corpus that nobody here learned, at most `MOST`. Raises as `read_examples`."""
    rows = read_examples(path) if path else []
    drawn = chance_of(seed, "strangers").sample(rows, min(MOST, len(rows)))
    return [
        replace(row, id=f"stranger-{at}", kind=OTHER_CORPUS, slice=NOT_LEARNED, corpus="")
        for at, row in enumerate(drawn)
    ]


def _beginnings(document: Source) -> Iterator[tuple[str, str]]:
    for passage in passages_of(document):
        words = passage.said.split()
        if len(words) >= BEGUN + GOES_ON:
            yield " ".join(words[:BEGUN]), " ".join(words[BEGUN : BEGUN + GOES_ON])
