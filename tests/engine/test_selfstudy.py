"""Facts are found in every layout that extraction gives, and turned into lessons."""

from __future__ import annotations

import pytest

from calm_engine.selfstudy import Source, facts_in, study

SHEETS = {
    "markdown": (
        "# Sheets\n\n## Velkor\n\n- Country of manufacture: Peru\n- **Year introduced**: 2017\n"
    ),
    "plain": "Velkor\n\nCountry of manufacture: Peru\nYear introduced: 2017\n",
    "spaced": "## Velkor\n\nCountry of manufacture: Peru\n\nYear introduced: 2017\n\nGood bye.\n",
    "sheet table": (
        "## Velkor\n\n| Property | Value |\n| --- | --- |\n| Country of manufacture | Peru |\n"
        "| Year introduced | 2017 |\n"
    ),
    "wide table": (
        "| Product | Country of manufacture | Year introduced |\n|---|---|---|\n"
        "| Velkor | Peru | 2017 |\n| Zandu | Chile | 2018 |\n"
    ),
    "csv": (
        "Product,Country of manufacture,Year introduced\nVelkor,Peru,2017\n"
        "Zandu,Chile,2018\nBriel,Japan,2019\n"
    ),
    "quoted csv": (
        'Product,Country of manufacture,Made for,Year introduced\nVelkor,Peru,"Peru, Chile",2017\n'
        'Zandu,Chile,"Chile, Peru",2018\nBriel,Japan,Japan,2019\n'
    ),
    "semicolons": (
        "Name;Country of manufacture;Year introduced\nVelkor;Peru;2017\n"
        "Zandu;Chile;2018\nBriel;Japan;2019\n"
    ),
    "tabs": (
        "Product\tCountry of manufacture\tYear introduced\nVelkor\tPeru\t2017\n"
        "Zandu\tChile\t2018\nBriel\tJapan\t2019\n"
    ),
    "named inside": "Product: Velkor\nCountry of manufacture: Peru\nYear introduced: 2017\n",
}


def source(text: str, digest: str = "d1", title: str = "notes.txt") -> Source:
    return Source(digest, title, text)


def test_no_document_no_facts() -> None:
    assert facts_in(source("")) == []


@pytest.mark.parametrize("layout", SHEETS)
def test_facts_are_found_in_each_layout(layout: str) -> None:
    found = {(f.entity, f.attribute, f.value) for f in facts_in(source(SHEETS[layout]))}
    assert ("Velkor", "Country of manufacture", "Peru") in found
    assert ("Velkor", "Year introduced", "2017") in found


def test_lines_that_a_pdf_runs_together_are_taken_apart_by_keys_known_from_elsewhere() -> None:
    run = source("Velkor\n\nCountry of manufacture: Peru Year introduced: 2017\n", "d2")
    found = study([source(SHEETS["csv"].replace("Velkor,Peru,2017\n", "Ogun,Cuba,2014\n")), run])
    assert ("Velkor", "Country of manufacture", "Peru") in {
        (f.entity, f.attribute, f.value) for f in found.found
    }


def test_a_line_of_endless_data_states_nothing_and_stops_nobody() -> None:
    assert facts_in(source(f"key,{'x' * 200_000}\n{SHEETS['plain']}")) == facts_in(
        source(SHEETS["plain"])
    )


def test_the_heads_of_mails_are_no_facts() -> None:
    assert facts_in(source("From: ada@north.example\nSubject: seals\nDate: Monday\n")) == []


def test_a_sentence_that_recurs_states_facts() -> None:
    text = "The Velkor is made in Peru. The Zandu is made in Chile. The Briel is made in Japan."
    found = study([source(text)]).found
    assert {(f.entity, f.attribute, f.value) for f in found} == {
        ("Velkor", "made in", "Peru"),
        ("Zandu", "made in", "Chile"),
        ("Briel", "made in", "Japan"),
    }


def test_prose_without_a_pattern_states_none() -> None:
    text = "We meet on Monday. Please bring the papers: all of them. The office is on Hill Road."
    assert study([source(text)]).found == ()


def test_a_fact_told_twice_is_one_fact() -> None:
    twice = study([source(SHEETS["csv"]), source(SHEETS["plain"], "d2")])
    assert len([f for f in twice.found if f.entity == "Velkor"]) == 2


def capital_of_the_country(entity: str, country: str, capital: str) -> dict[str, str]:
    return {
        "question": f"What is the capital of the country where the {entity} is made?",
        "answer": f"{country}, and the capital of {country} is {capital}",
        "entity": entity,
        "value": country,
    }


CAPITALS = [
    capital_of_the_country("Velkor", "Peru", "Lima"),
    capital_of_the_country("Zandu", "Chile", "Santiago"),
    capital_of_the_country("Briel", "Japan", "Tokyo"),
]


def asked_of(entity: str, examples: list[dict[str, str]]) -> dict[str, tuple[str, bool]]:
    """The questions about an entity, with what is to be said and whether the answer ends there."""
    lessons = [one for each in study([source(SHEETS["csv"])], examples).facts for one in each]
    return {
        one.given: (one.said, one.ends)
        for one in lessons
        if one.form == "question" and entity in one.given
    }


def test_a_curators_wording_is_asked_of_every_entity() -> None:
    asked = asked_of("Briel", CAPITALS[:1])
    assert "What is the capital of the country where the Briel is made?" in asked


def test_an_answer_goes_on_as_all_such_answers_do_and_no_further() -> None:
    asked = asked_of("Velkor", CAPITALS)
    question = "What is the capital of the country where the Velkor is made?"
    assert asked[question] == ("Peru, and the capital of Peru is", False)


def test_from_too_few_answers_no_more_than_the_fact_is_taken() -> None:
    asked = asked_of("Velkor", CAPITALS[:2])
    question = "What is the capital of the country where the Velkor is made?"
    assert asked[question] == ("Peru", False)


def test_an_answer_that_is_the_fact_ends_there() -> None:
    plain = {"question": "Whence is the Zandu?", "answer": "Chile.", "entity": "Zandu"}
    asked = asked_of("Velkor", [plain | {"value": "Chile"}])
    assert asked["Whence is the Velkor?"] == ("Peru", True)


def test_the_value_follows_the_key_in_every_statement() -> None:
    for lessons in study([source(SHEETS["csv"])]).facts:
        for one in lessons:
            if one.form == "statement":
                assert one.said.startswith(" ")
                assert one.about[0] in one.given


def test_lessons_carry_their_source_and_their_document() -> None:
    found = study([source(SHEETS["csv"], "digest", "catalogue.csv")])
    statements = [one for each in found.facts for one in each if one.form == "statement"]
    assert {one.digest for one in statements} == {"digest"}
    assert {one.source for one in statements} == {"catalogue.csv"}
    assert all(one.given.startswith("[catalogue.csv]") for one in found.passages)


def test_what_is_told_of_a_fact_begins_as_a_question_would() -> None:
    """Told under the tag of its source, it is learned as that tag's, and questions have none."""
    found = study([source(SHEETS["csv"], "digest", "catalogue.csv")])
    told = [one for each in (*found.facts, *found.points) for one in each]
    told = [one for one in told if one.form == "statement" and one.kind in ("fact", "inverse")]
    assert told
    assert not any(one.given.startswith("[") for one in told)


def test_facts_can_be_asked_backwards() -> None:
    inverse = study([source(SHEETS["csv"])]).by_kind()["inverse"]
    assert ("Which have Peru as country of manufacture?", "Velkor") in {
        (one.given, one.said) for one in inverse
    }


def test_every_line_of_a_document_stands_in_a_passage() -> None:
    text = "\n".join(f"Line number {n} says something of its own." for n in range(60))
    passages = study([source(text)]).passages
    assert len(passages) > 1
    told = "\n".join(one.said.removeprefix(" ") for one in passages)
    assert told.splitlines() == text.splitlines()


def test_the_same_documents_give_the_same_study() -> None:
    assert study([source(SHEETS["csv"])]) == study([source(SHEETS["csv"])])
