"""Composition data without labels: the sources, the three-way test, and what is shared out."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from calm_engine import digests
from calm_engine.data import Example, encode, question_prompt
from calm_engine.errors import InputError
from calm_engine.evaluation.retrieval import Library
from calm_engine.examples import HELD_OUT, TAUGHT, write_examples
from calm_engine.selfstudy import Source
from calm_engine.sieve import (
    PUBLIC,
    UNKNOWN,
    UNREADABLE,
    Judges,
    likelihoods,
    passages_for,
    reason_against,
    sieved,
)
from calm_engine.specs import ExamplesSpec, Progress
from tests.engine.learning import drain
from tests.tiny import make_model, make_tokenizer, save_folder

TABLE = "Product,Made in\n" + "".join(f"Thing{at},Land{at % 20}\n" for at in range(40))
WEIGHTS = {"recall": 0.5, "format": 0.0, "table": 0.0, "translation": 0.0}
ROWS = [Example(str(at), f"Where is Thing{at}?", "Peru", "Peru", "recall") for at in range(4)]


@pytest.fixture
def spec(tmp_path: Path) -> ExamplesSpec:
    documents = tmp_path / "documents.jsonl"
    documents.write_text(json.dumps({"digest": "d1", "title": "t", "text": TABLE}))
    made = str(tmp_path / "made")
    return ExamplesSpec(output=made, documents=str(documents), device="cpu", threads=1)


def lines(folder: str, name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (Path(folder) / name).read_text().splitlines()]


def ended(work: Generator[Progress, None, Any]) -> Any:
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value


# -- sources and their shares ----------------------------------------------------------------------


def test_examples_are_a_frozen_set_in_which_nothing_held_out_is_taught(spec: ExamplesSpec) -> None:
    _, outcome = drain(write_examples(spec))
    taught, held = (lines(outcome.folder, name) for name in (TAUGHT, HELD_OUT))
    apart = {row["entity"] for row in held if row["slice"].startswith("unseen_entity")}
    assert taught
    assert apart
    assert not apart & {row["entity"] for row in taught}
    digests.verify(outcome.folder)
    _, again = drain(write_examples(replace(spec, output=f"{spec.output}-2")))
    assert again.digest == outcome.digest


def test_a_kind_may_have_a_weight(spec: ExamplesSpec) -> None:
    _, outcome = drain(write_examples(replace(spec, weights=WEIGHTS)))
    assert outcome.facts["kinds"] == {"recall": 40, "paraphrase": 80}


def test_a_curators_own_always_count(spec: ExamplesSpec, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    rows = [{"id": f"{at}", "question": f"Who runs Thing{at}?", "answer": "Ada"} for at in range(9)]
    own.write_text("".join(f"{json.dumps(row | {'kind': 'own'})}\n" for row in rows))
    _, outcome = drain(write_examples(replace(spec, examples=str(own))))
    assert outcome.facts["kinds"]["own"] == 9


def test_the_anchor_writes_and_both_kinds_of_models_are_asked(
    spec: ExamplesSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random models pass nothing: what is left is what was never tested."""
    anchor = save_folder(make_model("llama", positions=1024, seed=1), tmp_path / "anchor")
    augmenter = make_model("llama", width=32, heads=2, positions=1024, seed=2)
    save_folder(augmenter, tmp_path / "augmenter")
    monkeypatch.setattr("calm_engine.selfstudy.writing.MOST", 4)
    monkeypatch.setattr("calm_engine.selfstudy.tasks.ENTITIES", 4)
    asked = replace(spec, anchor=str(anchor), augmenters=(str(tmp_path / "augmenter"),))
    asked = replace(asked, writes=True, unanswerable=1.0)
    news, outcome = drain(write_examples(asked))
    assert {"study", "sieve"} <= {one.stage for one in news}
    assert outcome.facts["kinds"] == {"unanswerable": 4}
    assert outcome.facts["dropped"][UNREADABLE] == 4 * 7  # of each entity all seven questions
    assert any("not in the form" in why for why in outcome.facts["dropped"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"writes": True}, "anchor"),
        ({"augmenters": ("a",)}, "anchor"),
        ({"unanswerable": -1}, "unanswerable"),
        ({"weights": {"recall": 2}}, "weights"),
        ({"documents": ""}, "documents"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(
    spec: ExamplesSpec, change: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError) as refused:
        ExamplesSpec.from_dict(spec.to_dict() | change)
    assert named in str(refused.value.facts["fields"])


# -- the three-way test ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("with_passage", "alone", "known", "why"),
    [
        (True, False, True, ""),
        (False, False, True, UNREADABLE),
        (True, True, True, PUBLIC),
        (True, False, False, UNKNOWN),
        (False, True, False, UNREADABLE),
    ],
)
def test_what_each_of_the_three_says_decides(
    with_passage: bool, alone: bool, known: bool, why: str
) -> None:
    assert reason_against(with_passage, alone, known) == why


def test_every_example_that_is_left_out_is_counted_by_a_reason() -> None:
    anchor = make_model("llama", positions=256, seed=1)
    augmenter = make_model("llama", width=32, heads=2, positions=256, seed=2)
    library = Library([Source("d", "t", "Thing0 is made in Peru.")])
    words = make_tokenizer()
    told = ended(sieved(ROWS, Judges(anchor, words, [(augmenter, words)], library, most=4)))
    assert len(told.kept) + sum(told.dropped.values()) == len(ROWS)
    assert set(told.dropped) <= {UNREADABLE, PUBLIC, UNKNOWN}


def test_the_passage_with_the_fact_is_put_before_the_question() -> None:
    texts = ["Thing1 is heavy. Thing1 is old.", "Thing1 is made in Peru.", "Thing2, Thing1."]
    library = Library([Source(str(at), "", text) for at, text in enumerate(texts)])
    one = Example("q", "Where is Thing1 made?", "Peru", "Peru", "recall", "Thing1", "Peru")
    assert [texts[1] in each for each in passages_for(one, library)] == [True]


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
def test_a_facts_likelihood_is_that_of_its_tokens_after_the_question(family: str) -> None:
    model, tokenizer = make_model(family, positions=256, seed=3), make_tokenizer()
    rows = [
        *ROWS,
        Example("x", "?", "Cuba and more", "Cuba", "recall", "", "Cuba"),
    ]
    found = likelihoods(rows, model, tokenizer, together=2)
    for one, likely in zip(rows, found, strict=True):
        prompt = question_prompt(tokenizer, one.question)
        said = encode(tokenizer, one.value or one.expected)
        with torch.no_grad():
            logs = model(torch.tensor([[*prompt, *said]])).logits[0].log_softmax(-1)
        each = [logs[len(prompt) - 1 + at, token] for at, token in enumerate(said)]
        assert likely == pytest.approx(float(torch.stack(each).mean().exp()), rel=1e-4)
