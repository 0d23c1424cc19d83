"""What is asked in one evaluation, and of whom: rows, trial rows, documents, exchanged names.

A function of the spec and the files that it names. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from calm_engine.data import Example, chance_of, read_documents, read_examples
from calm_engine.evaluation.columns import (
    ADAPTED,
    ANCHOR_LORA,
    ANCHOR_LORA_DOCUMENTS,
    READERS,
    READING,
    SWAPPED,
)
from calm_engine.evaluation.kinds import SEEN, family
from calm_engine.evaluation.questions import (
    chosen,
    general_questions,
    read_questions,
    repetitions,
    secrets_in,
    strange_questions,
)
from calm_engine.evaluation.retrieval import SIZES
from calm_engine.evaluation.swapping import Exchange, met_by_bridges
from calm_engine.overlap import Overlap, overlap
from calm_engine.selfstudy import Source
from calm_engine.specs import ROUNDS_MOST, EvaluateSpec

TRIED = 32  # questions on which it is chosen how much is read


@dataclass(frozen=True)
class Agenda:
    """All that is asked.

    of         questions in the file
    drawn      how many of them are asked
    rows       what everybody is asked, but for what a column skips
    trial      questions that no figure is judged by: they choose how many passages are read
    exchange   names that the edited documents exchange; empty where nobody is asked about them
    why_not    why a column that was wanted has nobody to ask, by its name
    taught     examples that the bridges were trained on; 0 where no file of them is given
    overlap    what the drawn questions that are held out share with these
    """

    of: int
    drawn: int
    rows: tuple[Example, ...]
    trial: tuple[Example, ...]
    documents: tuple[Source, ...]
    exchange: Exchange
    why_not: dict[str, str]
    taught: int = 0
    overlap: Overlap = field(default_factory=Overlap)

    @classmethod
    def made(cls, spec: EvaluateSpec) -> Agenda:
        """Raises what `read_questions`, reading documents and reading examples raise."""
        every = read_questions(spec.questions)
        documents = read_documents(spec.documents) if spec.documents else []
        exchange, why_not = _exchange(spec, every, documents)
        drawn = chosen(every, spec.seed)
        rows = [
            *drawn,
            *(general_questions() if spec.retention else []),
            *repetitions(documents, spec.seed),
            *secrets_in(spec.augmenters),
            *strange_questions(spec.strangers, spec.seed),
            *chosen(exchange.questions(every), spec.seed),
        ]
        trial = _trial(spec, drawn) if reads(spec) else []
        taught = [row.as_row() for row in read_examples(spec.examples)] if spec.examples else []
        shared = overlap(taught, [row.as_row() for row in drawn if row.slice != SEEN])
        return cls(
            of=len(every),
            drawn=len(drawn),
            rows=tuple(rows),
            trial=tuple(trial),
            documents=tuple(documents),
            exchange=exchange,
            why_not=why_not,
            taught=len(taught),
            overlap=shared,
        )

    @property
    def by_id(self) -> dict[str, Example]:
        return {row.id: row for row in self.rows}

    @property
    def swapped(self) -> list[Example]:
        """What the augmenter of edited documents is asked: their facts, and what was so before."""
        return [*self.exchange.edited(self.rows), *self.exchange.former(self.rows)]

    def besides(self, spec: EvaluateSpec) -> int:
        """How many answers come of those who are asked after the models as they are."""
        skipped = [READING] * len(READERS & set(spec.columns))
        skipped += [ADAPTED] * len({ANCHOR_LORA, ANCHOR_LORA_DOCUMENTS} & set(spec.columns))
        asked = sum(family(row.kind) not in each for each in skipped for row in self.rows)
        return asked + len(SIZES) * len(self.trial) + len(self.swapped)


def reads(spec: EvaluateSpec) -> bool:
    """Whether anybody is given passages."""
    return bool(READERS & set(spec.columns))


def _exchange(
    spec: EvaluateSpec, every: Sequence[Example], documents: Sequence[Source]
) -> tuple[Exchange, dict[str, str]]:
    """Names to exchange; none where nobody asks for it, or it cannot be done, with the reason."""
    nobody = Exchange({})
    if SWAPPED not in spec.columns or spec.documents is None:
        return nobody, {}
    if Path(spec.documents).stat().st_size > ROUNDS_MOST:
        return nobody, {SWAPPED: "large"}
    found = Exchange.among(every, documents, met_by_bridges(spec), seed=spec.seed)
    return (found, {}) if found.questions(every) else (nobody, {SWAPPED: "nobody"})


def _trial(spec: EvaluateSpec, drawn: Sequence[Example]) -> list[Example]:
    """Some of what the bridges were trained on, which whoever only reads was not; else "seen"."""
    if not spec.examples:
        return [row for row in drawn if row.slice == SEEN]
    rows = read_examples(spec.examples)
    some = chance_of(spec.seed, "trial").sample(rows, min(TRIED, len(rows)))
    return [replace(row, id=f"trial-{at}") for at, row in enumerate(some)]
