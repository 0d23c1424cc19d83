"""The counterfactual: exchanged names, edited documents, an augmenter that learns them alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calm_engine import course
from calm_engine.augment import augment
from calm_engine.canaries import canaries, documents_of, read
from calm_engine.data import Example
from calm_engine.errors import InputError
from calm_engine.evaluation.card import card_of
from calm_engine.evaluation.kinds import COUNTERFACTUAL, family
from calm_engine.evaluation.run import evaluate
from calm_engine.evaluation.swapping import Exchange
from calm_engine.selfstudy import Source
from calm_engine.selfstudy.nouns import Study
from calm_engine.specs import EvaluateSpec, Outcome
from tests.engine.asking import make_evaluation
from tests.engine.learning import PLACES, drain, make_augment


def question(name: str, place: str, *, part: str = "unseen_entity") -> Example:
    asked = f"Where is the {name} made?"
    return Example(f"q-{name}-{part}", asked, place, place, "recall", name, place, part)


ROWS = [question(name, place) for name, place in PLACES.items()]
TABLE = Source("d1", "zor.txt", "ZOR | Peru\nThe Vek is made in Cuba. Zorro is nobody.")
REST = Source("d2", "rest", "".join(f"{name}: {place}\n" for name, place in PLACES.items()))


def exchange(rows: list[Example] = ROWS, met: tuple[str, ...] = (), seed: int = 1) -> Exchange:
    return Exchange.among(rows, [TABLE, REST], met, seed=seed)


# -- exchanging names ------------------------------------------------------------------------------


def test_names_are_exchanged_in_pairs_and_nowhere_else() -> None:
    names = exchange().names
    assert set(names) == set(PLACES) == set(names.values())
    assert all(names[names[name]] == name != names[name] for name in names)
    assert names == exchange().names
    assert any(names != exchange(seed=seed).names for seed in range(2, 8))


def test_a_name_is_exchanged_as_a_whole_word_in_the_letters_in_which_it_stands() -> None:
    told = Exchange({"Zor": "Vek", "Vek": "Zor"}).document(TABLE)
    assert told.title == "vek.txt"
    assert told.text == "VEK | Peru\nThe Zor is made in Cuba. Zorro is nobody."
    assert told.digest != TABLE.digest
    other = Source("d9", "meals", "Lunch is served at noon.")
    assert exchange().document(other) is other


def test_exchanged_twice_the_documents_say_what_they_said() -> None:
    both = exchange()
    back = both.document(both.document(REST))
    assert (back.title, back.text) == (REST.title, REST.text)


def test_what_is_asked_then_has_another_answer_and_it_stands_in_the_edited_documents() -> None:
    both = exchange()
    edited = both.document(REST).text
    rows = both.questions(ROWS)
    assert len(rows) == len(PLACES)
    for row in rows:
        assert family(row.kind) == COUNTERFACTUAL
        assert row.expected != PLACES[row.entity]
        assert f"{row.entity}: {row.expected}" in edited


def test_whom_a_bridge_has_met_and_whom_no_document_names_keep_their_names() -> None:
    rows = [*ROWS, question("Nix", "Fiji"), question("Hap", "Mali", part="seen")]
    names = exchange(rows, met=("zor",)).names
    assert not {"Zor", "Nix"} & set(names)


def test_entities_that_share_an_answer_or_a_name_are_no_pair() -> None:
    same = [question("Zor", "Peru"), question("Vek", "Peru")]
    assert exchange(same).names == {}
    inside = [question("Zor", "Peru"), question("Zor Vek", "Cuba")]
    assert exchange(inside).names == {}
    assert exchange(same).questions(same) == []


# -- canaries --------------------------------------------------------------------------------------


def test_canaries_are_a_function_of_the_seed_and_half_of_them_are_never_planted() -> None:
    drawn = canaries(3, 10)
    assert drawn == canaries(3, 10) != canaries(4, 10)
    assert [one.is_planted for one in drawn] == [True] * 10 + [False] * 10
    assert len({one.begun for one in drawn}) == len({one.rest for one in drawn}) == 20
    assert [one.text for one in documents_of(drawn)] == [one.text for one in drawn[:10]]


def test_planted_secrets_are_taught_and_told_and_never_asked_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(make_augment(tmp_path, steps=2), canaries=3, seed=5)
    seen: list[Study] = []
    kept = course.study

    def listening(*args: object, **named: object) -> Study:
        seen.append(kept(*args, **named))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(course, "study", listening)
    _, outcome = drain(augment(spec))
    drawn = canaries(5, 3)
    assert read(outcome.folder) == drawn
    taught = " ".join(one.given + one.said for one in seen[0].passages)
    assert all((one.rest in taught) is one.is_planted for one in drawn)
    assert outcome.facts["documents"] == 1
    recall = json.loads((Path(outcome.folder) / "recall.json").read_text())
    assert set(recall["documents"]) == {"d1"}


# -- the whole -------------------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path: Path) -> EvaluateSpec:
    """Six facts that no bridge has met, with the documents that state them."""
    made = make_evaluation(tmp_path, control=False, new_tokens=3)
    rows = [vars(one) for one in ROWS]
    Path(made.questions).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    documents = tmp_path / "documents.jsonl"
    every = (REST, TABLE, Source("d3", "meals", "Lunch is served at noon in the canteen below."))
    told = [{"digest": one.digest, "title": one.title, "text": one.text} for one in every]
    documents.write_text("".join(f"{json.dumps(row)}\n" for row in told))
    return replace(made, documents=str(documents), columns=("swapped",))


def cells_of(outcome: Outcome) -> dict[tuple[str, str, str], dict[str, float]]:
    return {(c["column"], c["kind"], c["slice"]): c for c in outcome.facts["cells"]}


def test_the_same_bridges_are_asked_on_the_augmenter_that_learned_the_edited_documents(
    spec: EvaluateSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_engine.course.ROUNDS", 2)
    news, outcome = drain(evaluate(spec))
    cells, kind = cells_of(outcome), f"{COUNTERFACTUAL}:recall"
    assert cells["swapped", kind, "unseen_entity"]["n"] == len(PLACES)
    assert cells["swapped", "recall", "unseen_entity"]["n"] == len(PLACES)
    assert cells["composition", kind, "unseen_entity"]["n"] == len(PLACES)
    assert ("augmenter", kind, "unseen_entity") not in cells
    assert outcome.facts["swapped"]["entities"] == len(PLACES)
    assert not [row for row in outcome.facts["differences"] if family(row["kind"]) != row["kind"]]
    assert any(one.stage == "swap" for one in news)
    assert news[-1].step == news[-1].total
    card = (Path(outcome.folder) / "card.md").read_text()
    assert "## Edited facts" in card
    assert "counterfactual: recall" in card
    assert not list(Path(spec.output).parent.glob("report.work/*"))


def test_stopped_after_the_retraining_it_is_not_trained_again(
    spec: EvaluateSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_engine.course.ROUNDS", 2)
    work = evaluate(spec)
    while next(work).message != "swapped":
        pass
    work.close()
    left = {path.name for path in Path(f"{spec.output}.work").iterdir()}
    assert "swapped.jsonl" not in left  # no document lies there plain
    again, _ = drain(evaluate(spec))
    assert not [one for one in again if one.stage == "swap"]


def test_questions_of_another_corpus_are_counted_and_never_kept(
    spec: EvaluateSpec, tmp_path: Path
) -> None:
    strangers = tmp_path / "strangers.jsonl"
    told = {"corpus": "Secret corpus"}
    rows = [vars(question(f"Secret{at}", "Fiji")) | told for at in range(60)]
    strangers.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    asked = replace(spec, columns=(), strangers=str(strangers))
    news, outcome = drain(evaluate(asked))
    cells = cells_of(outcome)
    assert cells["composition", "other_corpus", "not_learned"]["n"] == 48
    assert cells["anchor", "other_corpus", "not_learned"]["n"] == 48
    assert ("augmenter", "other_corpus", "not_learned") not in cells
    assert not [row for row in outcome.facts["differences"] if row["kind"] == "other_corpus"]
    for path in Path(outcome.folder).iterdir():
        assert "Secret" not in path.read_text(), path.name
    assert "Secret" not in "".join(one.to_json() for one in news)
    assert "## What should not come out" in card_of(outcome.facts, outcome.parents)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"documents": None}, "documents"),
        ({"augmenters": ("a", "b")}, "augmenters"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused(
    spec: EvaluateSpec, change: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError) as refused:
        EvaluateSpec.from_dict(spec.to_dict() | change)
    assert named in str(refused.value.facts["fields"])
