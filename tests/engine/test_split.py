"""Held out means held out: by entity and by value, whatever the rows look like."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from calm_engine.data import chance_of
from calm_engine.split import OPEN_FAMILY, split_examples

COUNTRIES = [f"Land{n}" for n in range(24)]


def rows_of(entities: int, values: list[str]) -> list[dict[str, str]]:
    rows = []
    for n in range(entities):
        value = values[n % len(values)]
        for q, asked in enumerate(("Where is the {} made?", "What is the capital for the {}?")):
            rows.append(
                {
                    "id": f"{n}-{q}",
                    "question": asked.format(f"Thing{n}"),
                    "answer": f"{value}, and more",
                    "entity": f"Thing{n}",
                    "value": value,
                    "kind": "recall",
                }
            )
    return rows


def test_a_third_of_the_values_and_of_the_other_entities_are_held_out() -> None:
    rows = rows_of(240, COUNTRIES)
    shares = split_examples(rows, seed=1)
    unseen = {row["value"] for row in rows if shares[row["id"]] == "unseen_value"}
    entities = {row["entity"] for row in rows if shares[row["id"]] == "unseen_entity"}
    assert len(unseen) == 8
    assert len(entities) == round(0.3 * 160)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    entities=st.integers(1, 60),
    values=st.integers(1, 30),
    entity_share=st.floats(0, 1),
    value_share=st.floats(0, 1),
)
def test_what_is_held_out_is_in_no_training_example(
    seed: int, entities: int, values: int, entity_share: float, value_share: float
) -> None:
    rows = rows_of(entities, [f"Land{n}" for n in range(values)])
    shares = split_examples(rows, seed=seed, entity_share=entity_share, value_share=value_share)
    assert set(shares) == {row["id"] for row in rows}
    held = [row for row in rows if shares[row["id"]] != "bridge"]
    held_values = {row["value"] for row in rows if shares[row["id"]] == "unseen_value"}
    for row in (row for row in rows if shares[row["id"]] == "bridge"):
        assert row["entity"] not in {other["entity"] for other in held}
        assert row["value"] not in held_values
        assert not any(value in row["answer"].split(",")[0].split() for value in held_values)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_decides_nothing(seed: int) -> None:
    rows = rows_of(40, COUNTRIES)
    mixed = chance_of(seed).sample(rows, len(rows))
    assert split_examples(rows, seed=seed) == split_examples(mixed, seed=seed)


def test_another_seed_holds_out_others() -> None:
    rows = rows_of(120, COUNTRIES)
    assert split_examples(rows, seed=1) != split_examples(rows, seed=2)


def test_a_closed_list_of_values_loses_none() -> None:
    rows = rows_of(60, COUNTRIES[: OPEN_FAMILY - 1])
    assert "unseen_value" not in split_examples(rows, seed=1).values()


def test_a_value_named_in_the_words_of_another_example_is_not_trained_on() -> None:
    rows = rows_of(48, COUNTRIES)
    hidden = next(
        r["value"] for r in rows if split_examples(rows, seed=3)[r["id"]] == "unseen_value"
    )
    rows.append(
        {
            "id": "slip",
            "question": "What goes with it?",
            "answer": f"A plug from {hidden}.",
            "entity": "Stranger",
            "value": "plug",
            "kind": "recall",
        }
    )
    assert split_examples(rows, seed=3)["slip"] == "unseen_value"


def pairs_of(entities: int) -> list[dict[str, str]]:
    """Each thing asked about beside the next."""
    rows = []
    for n in range(entities):
        asked = f"By how much do Thing{n} and Thing{(n + 1) % entities} differ?"
        told = {"question": asked, "answer": "2", "entity": f"Thing{n}", "value": ""}
        rows.append({"id": f"pair-{n}", "kind": "difference"} | told)
    return rows


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_who_is_held_out_is_named_in_no_training_example(seed: int) -> None:
    rows = [*rows_of(60, COUNTRIES), *pairs_of(60)]
    shares = split_examples(rows, seed=seed)
    taught = [row for row in rows if shares[row["id"]] == "bridge"]
    held = {row["entity"] for row in rows if shares[row["id"]] == "unseen_entity"}
    seen = {row["entity"] for row in taught if row["kind"] == "recall"}
    words = {word.strip("?,") for row in taught for word in row["question"].split()}
    assert not (held - seen) & words


def test_a_name_that_is_a_word_of_many_questions_holds_out_nobody_else() -> None:
    rows = rows_of(200, ["here"])
    rows.append({"id": "w", "question": "Made?", "answer": "x", "entity": "made", "value": "x"})
    hidden = next(s for s in range(50) if split_examples(rows, seed=s)["w"] == "unseen_entity")
    shares = split_examples(rows, seed=hidden)
    assert sum(share == "bridge" for share in shares.values()) > 200


def test_of_many_tasks_one_is_held_out_whole_and_of_few_none() -> None:
    kinds = ("recall", "paraphrase", "arithmetic", "difference", "format")
    rows = [
        row
        | {"id": f"{row['id']}-{kind}", "kind": kind, "value": ""}
        | {"question": f"{kind}: {row['question']}"}
        for kind in kinds
        for row in rows_of(30, ["here"])
    ]
    shares = split_examples(rows, seed=1)
    spared = {row["kind"] for row in rows if shares[row["id"]] == "unseen_skill"}
    taught = {row["kind"] for row in rows if shares[row["id"]] == "bridge"}
    assert (len(spared), spared & taught, taught | spared) == (1, set(), set(kinds))
    few = [row for row in rows if row["kind"] != "format"]
    assert "unseen_skill" not in split_examples(few, seed=1).values()


def test_who_says_the_same_as_a_held_out_row_is_not_trained_on() -> None:
    rows = rows_of(48, COUNTRIES)
    held = next(r for r in rows if split_examples(rows, seed=3)[r["id"]] == "unseen_entity")
    words = {"question": f"the {held['entity']}: where is it?", "answer": held["answer"]}
    rows.append(held | {"id": "1", "entity": "", "value": "", "question": held["question"].upper()})
    rows.append(held | {"id": "2", "entity": "", "value": ""} | words)
    shares = split_examples(rows, seed=3)
    assert shares["1"] == shares["2"] == "unseen_entity"


def test_twins_stand_on_one_side_though_neither_names_anybody() -> None:
    kinds = ("recall", "a", "b", "c", "d")
    told = {"question": "When is lunch?", "answer": "At noon.", "entity": "", "value": ""}
    rows = [told | {"id": kind, "kind": kind} for kind in kinds]
    assert set(split_examples(rows, seed=1).values()) == {"unseen_skill"}
