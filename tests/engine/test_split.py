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
