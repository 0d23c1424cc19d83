"""The key-value task as files for the product's own training: a spec, examples, questions.

Its bridges are joined where the paper spreads them and learn from the answers alone, as a company's
do: no states are handed over. Knows no models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from calm_engine.data import Example, chance_of
from calm_engine.reproduce.key_value import Expression, Key, Lesson, make_keys, of_keys, of_numbers
from calm_engine.reproduce.table import ANCHOR, AUGMENTER
from calm_engine.specs import ComposeSpec

EXAMPLES = 2400
ASKED = 100  # questions of each kind
STEPS = 600
UNSEEN = "unseen_entity"
QUESTIONS = "questions.jsonl"


def write_task(models: Path, folder: Path, *, keys: int, operands: int, seed: int) -> ComposeSpec:
    """Examples over the bridges' share of the keys and questions over all others, in `folder`.

    models   the folder of `calm reproduce key-value --output`
    Returns the spec whose examples they are; the questions stand beside them.
    """
    split = make_keys(seed, keys)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "examples.jsonl", _examples(seed, split.seen, operands))
    _write(folder / QUESTIONS, _questions(seed, split.held_out, operands))
    return ComposeSpec(
        output=str(folder / "composition"),
        anchor=str(models / ANCHOR),
        augmenters=(str(models / AUGMENTER),),
        examples=str(folder / "examples.jsonl"),
        steps=STEPS,
        batch_size=32,
        general_share=0.0,  # its anchor knows no public text; plain sums stand for it
    )


def _examples(seed: int, keys: Sequence[Key], operands: int) -> Iterable[Example]:
    chance = chance_of(seed, "examples")
    for number in range(EXAMPLES):
        count = chance.randint(1, operands)
        if chance.random() < 0.25:
            plain = of_numbers(chance, count, filler=chance.choice((0.0, 0.5)))
            yield _example(number, plain, plain.computed(), "plain")
            continue
        one = of_keys(chance, chance.sample(keys, count))
        if chance.random() < 0.5:
            yield _example(number, one, one.substituted(), "substitution")
        else:
            yield _example(number, one, one.stated(), "stated")


def _questions(seed: int, keys: Sequence[Key], operands: int) -> Iterable[Example]:
    chance = chance_of(seed, "asked")
    for number in range(ASKED):
        one = of_keys(chance, chance.sample(keys, operands))
        yield _example(number, one, one.substituted(), "substitution", UNSEEN)
        yield _example(number, one, one.stated(), "stated", UNSEEN)
        plain = of_numbers(chance, operands)
        yield _example(number, plain, plain.computed(), "plain", UNSEEN)


def _example(number: int, one: Expression, lesson: Lesson, kind: str, slice_: str = "") -> Example:
    """All of an answer is expected: the numbers, then the value."""
    return Example(
        f"{kind}-{number}",
        lesson.given,
        lesson.said,
        lesson.said,
        kind,
        entity=" ".join(one.told),
        value=" ".join(map(str, one.numbers)),
        slice=slice_,
    )


def _write(path: Path, rows: Iterable[Example]) -> None:
    path.write_text("".join(json.dumps(row.as_row()) + "\n" for row in rows), encoding="utf-8")
