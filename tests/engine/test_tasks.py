"""Questions made of the facts that documents state: each answer is known to be right."""

from __future__ import annotations

import json

import pytest

from calm_engine.evaluation.scoring import scored
from calm_engine.selfstudy import Source
from calm_engine.selfstudy.retelling import DEFINITION, SECTION
from calm_engine.selfstudy.tasks import (
    ARITHMETIC,
    DIFFERENCE,
    ENTITIES,
    FORMAT,
    RECALL,
    REFUSED,
    SENTENCES,
    SEVERAL,
    TABLE,
    TASKS,
    TRANSLATION,
    UNANSWERABLE,
    Tasks,
    tasks_of,
)

FACTS = {"Zor": ("Peru", 2011), "Vek": ("Cuba", 2014), "Mib": ("Iran", 2014), "Lux": ("Oman", 2019)}
CATALOGUE = "Product,Made in,Introduced\n" + "".join(
    f"{name},{place},{year}\n" for name, (place, year) in FACTS.items()
)


LONG_VALUES = "Product,Made in\nZor,New Zealand\nVek,The Isle of Man\nMib,Oman\n"


def made(text: str = CATALOGUE, **how: object) -> Tasks:
    return tasks_of([Source("d1", "catalogue", text)], **how)  # type: ignore[arg-type]


def test_every_fact_is_asked_for_and_used() -> None:
    told = made()
    assert set(told.by_kind()) == set(TASKS)
    for name, (place, year) in FACTS.items():
        about = [row for row in told.rows if row["entity"] == name]
        assert {row["value"] for row in about} == {place, str(year)}
        assert all(name in row["question"] for row in about)
    assert told == made()


@pytest.mark.parametrize("kind", TASKS)
def test_each_answer_is_right_and_states_its_fact(kind: str) -> None:
    rows = [row for row in made().rows if row["kind"] == kind]
    assert rows
    for row in rows:
        assert scored(row["answer"], row["expected"]).is_right
        assert row["value"] in row["answer"]
        place, year = FACTS[row["entity"]]
        assert row["value"] in (place, str(year))


def test_what_is_reckoned_is_reckoned_rightly_and_saying_the_fact_alone_is_wrong() -> None:
    rows = [row for row in made().rows if row["kind"] in (ARITHMETIC, DIFFERENCE)]
    for row in rows:
        words = row["question"].rstrip("?").split()
        if row["kind"] == ARITHMETIC:
            assert int(row["expected"]) == int(row["value"]) + int(words[-1])
        else:
            years = [year for name, (_, year) in FACTS.items() if name in words]
            assert int(row["expected"]) == abs(years[0] - years[1]) > 0
        assert not scored(row["value"], row["expected"]).is_right


def test_a_formatted_fact_is_an_object() -> None:
    row = next(row for row in made().rows if row["kind"] == FORMAT)
    assert json.loads(row["answer"])["name"] == row["entity"]


def test_a_table_has_a_line_of_names_and_a_line_of_values() -> None:
    for row in (row for row in made().rows if row["kind"] == TABLE):
        head, cells = (line.split(" | ") for line in row["answer"].splitlines())
        told = dict(zip(head, cells, strict=True))
        place, year = FACTS[row["entity"]]
        assert told == {"name": row["entity"], "made in": place, "introduced": str(year)}
        assert all(name in row["question"] for name in head)
    alone = made("Product,Made in\nZor,Peru\nVek,Cuba\n")
    assert [row["answer"] for row in alone.rows if row["kind"] == TABLE][:1] == [
        "name | made in\nVek | Cuba"
    ]


def test_a_value_that_would_break_a_table_stands_in_none() -> None:
    told = made("Zor\nMode: on | off\nColour: red\n")
    assert {row["value"] for row in told.rows if row["kind"] == RECALL} == {"on | off", "red"}
    assert TABLE not in told.by_kind()


def test_a_sentence_of_another_language_keeps_the_value_and_is_asked_of_short_ones() -> None:
    rows = [row for row in made(LONG_VALUES).rows if row["kind"] == TRANSLATION]
    assert rows
    for row in rows:
        language = next(name for name in SENTENCES if name in row["question"])
        assert row["answer"] == f"{SENTENCES[language].format(v=row['value'])}."
        assert not scored(row["value"], row["expected"]).is_right
        assert not scored(row["answer"].replace(row["value"], "Other"), row["expected"]).is_right
    assert {row["value"] for row in rows} == {"New Zealand", "Oman"}


def test_of_a_fact_with_two_values_nothing_is_asked() -> None:
    told = made(f"{CATALOGUE}Zor,Chile,2011\n")
    assert told.dropped == {SEVERAL: 2}
    assert {row["value"] for row in told.rows if row["entity"] == "Zor"} == {"2011"}


def test_who_is_in_no_document_is_answered_with_a_refusal() -> None:
    told = made(unanswerable=1.0)
    rows = [row for row in told.rows if row["kind"] == UNANSWERABLE]
    assert len(rows) == len(FACTS)
    assert all(row["entity"] not in CATALOGUE and REFUSED in row["answer"] for row in rows)
    assert UNANSWERABLE not in made().by_kind()


def test_chosen_kinds_alone_are_written_and_nothing_where_nothing_is_stated() -> None:
    assert set(made(kinds=[RECALL]).by_kind()) == {RECALL}
    assert made("Lunch at noon.", unanswerable=1.0).rows == ()


def test_of_many_entities_some_are_drawn_by_the_seed() -> None:
    rows = "".join(f"Thing{at},Land{at}\n" for at in range(ENTITIES + 50))
    told = [made(f"Product,Made in\n{rows}", seed=seed) for seed in (1, 1, 2)]
    assert len({row["entity"] for row in told[0].rows}) == ENTITIES
    assert told[0] == told[1] != told[2]


MANUAL = """\
3.1 Mounting

The mounting bracket must be fastened with four screws.

3.2 Storage

The spare filter is kept in the upper drawer.
"""


def test_what_prose_says_is_asked_forwards_and_back() -> None:
    rows = {(row["kind"], row["question"]): row for row in made(MANUAL).rows}
    assert {kind for kind, _ in rows} == {DEFINITION, SECTION}
    answers = {row["answer"] for row in rows.values()}
    assert {"fastened with four screws", "the mounting bracket", "Mounting", "3.1"} <= answers
    about = {row["entity"] for row in rows.values() if row["kind"] == DEFINITION}
    assert about == {"the mounting bracket", "the spare filter"}


def test_a_section_of_two_documents_is_not_asked_for_by_its_number() -> None:
    other = Source("d2", "other", "3.1 Cleaning\n\nNothing to see here.\n")
    told = tasks_of([Source("d1", "manual", MANUAL), other])
    assert not [row for row in told.rows if "3.1" in row["question"]]
    assert {row["answer"] for row in told.rows} >= {"3.1", "3.2", "Storage"}
    again = Source("d3", "third", "3.2 Cleaning\n\nNothing.\n\n3.1 Storage\n\nNothing.\n")
    every = tasks_of([Source("d1", "manual", MANUAL), other, again])
    assert every.dropped == {SEVERAL: 4}
