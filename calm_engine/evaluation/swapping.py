"""The counterfactual: entities exchange their names in all documents, the augmenter alone learns
that, and the composition is asked again through the same bridges.

What the documents said of one they then say of another, whatever their layout. Only entities that
no bridge has met take part, in pairs that share no answer. The same augmenter is one that learned
something else: asked as before, nothing that it says can be right but by chance.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from calm_engine.augment import augment
from calm_engine.data import Example, chance_of, read_examples
from calm_engine.evaluation.kinds import COUNTERFACTUAL, MADE, SEEN, family
from calm_engine.evaluation.scoring import normalised
from calm_engine.families import load_parent
from calm_engine.modeling import CalmForCausalLM
from calm_engine.selfstudy import Source
from calm_engine.specs import AugmentSpec, EvaluateSpec, Outcome, Progress

MOST = 400  # entities that exchange their names
STAGE = "swap"


@dataclass(frozen=True)
class Exchange:
    """Names, each with the one that stands in its place; empty where no two could be exchanged."""

    names: Mapping[str, str]

    @classmethod
    def among(
        cls,
        questions: Sequence[Example],
        documents: Sequence[Source],
        met: Collection[str],
        *,
        seed: int,
    ) -> Exchange:
        """Pairs of entities that are asked about, drawn by the seed.

        met   names that bridges were trained on
        """
        answers: dict[str, set[str]] = {}
        for row in questions:
            if row.slice != SEEN and row.entity:
                answers.setdefault(row.entity, set()).add(normalised(row.expected))
        known = {normalised(name) for name in met}
        free = sorted(name for name in answers if normalised(name) not in known)
        drawn = chance_of(seed, "exchange").sample(free, min(MOST, len(free)))
        written = _written(drawn, documents)
        names = _apart([name for name in drawn if name in written])
        return cls(dict(_pairs(names, answers)))

    def document(self, one: Source) -> Source:
        """The document with the names exchanged; of another digest where anything changed."""
        title, text = self._said(one.title), self._said(one.text)
        if (title, text) == (one.title, one.text):
            return one
        digest = hashlib.sha256(f"{one.digest}\n{title}\n{text}".encode()).hexdigest()
        return Source(digest, title, text)

    def questions(self, rows: Sequence[Example]) -> list[Example]:
        """What may be asked once the names are exchanged, where the answer is another now."""
        before: dict[str, set[str]] = {}
        for row in rows:
            before.setdefault(row.entity, set()).add(normalised(row.expected))
        return [
            told
            for row in rows
            if row.entity in self.names and row.slice != SEEN
            for told in [self._row(row)]
            if normalised(told.expected) not in before.get(told.entity, ())
        ]

    def edited(self, rows: Sequence[Example]) -> list[Example]:
        """Of these the questions about what edited documents state."""
        return [row for row in rows if family(row.kind) == COUNTERFACTUAL]

    def former(self, rows: Sequence[Example]) -> list[Example]:
        """Of these the questions about entities that no longer are what they were."""
        about = [row for row in rows if row.entity in self.names and family(row.kind) not in MADE]
        return [row for row in about if row.slice != SEEN]

    def _row(self, row: Example) -> Example:
        return replace(
            row,
            id=f"{COUNTERFACTUAL}-{row.id}",
            question=self._said(row.question),
            answer=self._said(row.answer),
            expected=self._said(row.expected),
            entity=self.names[row.entity],
            kind=f"{COUNTERFACTUAL}:{row.kind}",
        )

    def _said(self, text: str) -> str:
        if not self.names:
            return text
        return self._form.sub(lambda m: _cased(self._others[m[0].lower()], m[0]), text)

    @cached_property
    def _form(self) -> re.Pattern[str]:
        return _any_of(self.names)

    @cached_property
    def _others(self) -> dict[str, str]:
        return {name.lower(): other for name, other in self.names.items()}


def retrained(
    spec: EvaluateSpec,
    together: CalmForCausalLM,
    exchange: Exchange,
    documents: Sequence[Source],
    folder: Path,
) -> Iterator[Progress | tuple[PreTrainedModel, Outcome]]:
    """Bring the augmenter up to date with the exchanged documents, or take it from the folder.

    Progress, then the model and how its training ended. Raises what `augment` raises.
    """
    file = folder.with_name(f"{folder.name}.jsonl")
    changed = [exchange.document(one) for one in documents]
    rows = [{"digest": one.digest, "title": one.title, "text": one.text} for one in changed]
    told = AugmentSpec(
        output=str(folder),
        tokenizer=spec.augmenters[0],
        documents=str(file),
        examples=spec.examples,
        previous=spec.augmenters[0],
        previous_documents=spec.documents,
        seed=spec.seed,
        device=spec.device,
        threads=spec.threads,
    )
    try:
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        outcome = yield from _news(told)
    finally:
        file.unlink(missing_ok=True)  # the words of documents lie plain no longer than needed
    loaded: Any = load_parent(folder)
    yield loaded.to(together.device), outcome


def met_by_bridges(spec: EvaluateSpec) -> set[str]:
    """Entities of the examples that bridges were trained on."""
    return {row.entity for row in read_examples(spec.examples)} if spec.examples else set()


def _news(told: AugmentSpec) -> Any:
    work = augment(told)
    while True:
        try:
            news = next(work)
        except StopIteration as end:
            return end.value
        yield replace(news, stage=STAGE, message=news.message or news.stage)


def _written(names: Sequence[str], documents: Sequence[Source]) -> set[str]:
    """Those of the names that the documents hold, as whole words in any case."""
    if not names:
        return set()
    form = _any_of(names)
    found = {m.lower() for one in documents for m in form.findall(f"{one.title}\n{one.text}")}
    return {name for name in names if name.lower() in found}


def _apart(names: Collection[str]) -> list[str]:
    """Names of which none stands inside another."""
    spaced = {name: f" {normalised(name)} " for name in names}
    return [
        name
        for name, told in spaced.items()
        if not any(told in other or other in told for each, other in spaced.items() if each != name)
    ]


def _pairs(names: Sequence[str], answers: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Each name with a later one that shares no answer with it, both ways."""
    left = list(names)
    while left:
        one = left.pop(0)
        other = next((each for each in left if not answers[one] & answers[each]), None)
        if other is not None:
            left.remove(other)
            yield from ((one, other), (other, one))


def _any_of(names: Collection[str]) -> re.Pattern[str]:
    longest = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{longest})(?!\w)", re.IGNORECASE)


def _cased(name: str, like: str) -> str:
    """A name in small or capital letters where the one that it replaces stood so."""
    how: Callable[[str], str] = (
        str.lower if like.islower() else str.upper if like.isupper() else str
    )
    return how(name)
