"""What states a fact, and what only looks like it: listings, options, captions, half sentences."""

from __future__ import annotations

import pytest

from calm_engine.selfstudy import Source, facts_in
from calm_engine.selfstudy.names import is_attribute, is_entity, is_label, is_value
from calm_engine.selfstudy.words import is_or_are


def found(text: str) -> set[tuple[str, str, str]]:
    told = facts_in(Source("d1", "", text))
    return {(one.entity, one.attribute, one.value) for one in told}


@pytest.mark.parametrize(
    "name",
    [
        "Velkor",
        "Pump 300 (large)",
        "C++",
        ".NET",
        "Müller & Söhne",
        "ada@north.example",
        "Stamping die",
        "Hard hat L",
    ],
)
def test_a_name_may_be_an_entity(name: str) -> None:
    assert is_entity(name)


@pytest.mark.parametrize(
    "told",
    [
        "",
        "AS_IF([test",
        "dh_install --list-missing",
        'FLAGS="-p ab"',
        "Gtk.main()",
        "ada <ada@north.example>",
        "The file is installed as root",
        "Editors, configurators and other such",
        "Der Umschalter wird geschlossen",
        "Ersatzteile für",
        "Le fichier est fermé",
        "Los repuestos de",
        "I pezzi della",
        "x" * 61,
    ],
)
def test_code_and_half_a_sentence_name_nothing(told: str) -> None:
    assert not is_entity(told)


@pytest.mark.parametrize(
    "name",
    [
        "Weight",
        "Max. load",
        "Voltage [V]",
        "Q1 2020",
        "2019",
        "50 Hz",
        "E-mail",
        "Größe",
        "IT department",
        "Die size",
        "Los Angeles",
        "SI unit",
    ],
)
def test_words_years_and_units_may_be_attributes(name: str) -> None:
    assert is_attribute(name)


@pytest.mark.parametrize(
    "told",
    [
        "I",
        "n",
        "3.22.1-3+deb9u2",
        "the -x option",
        "this is obsolete",
        'echo "done',
        "a = b",
        "::",
        "Wenn es brennt",
        "Siehe auch",
        "Cette pompe",
        "Cuando sea posible",
        "Questo pezzo",
    ],
)
def test_versions_letters_and_sentences_are_no_attributes(told: str) -> None:
    assert not is_attribute(told)


@pytest.mark.parametrize(
    "told", ["Peru", "-40 °C", "$1,200.00", "<5 %", "12:30", "fe80::1", "Ada <ada@north.example>"]
)
def test_amounts_times_and_addresses_are_values(told: str) -> None:
    assert is_value(told)


@pytest.mark.parametrize(
    "told", ["", "...", "${misc:Depends}", "<insert the address>", ": Python", "a => b", "x" * 91]
)
def test_placeholders_and_code_are_no_values(told: str) -> None:
    assert not is_value(told)


@pytest.mark.parametrize(
    "line",
    ["Note", "TABLE OF CONTENTS", "Table 3. Sizes", "Technical data:", "Hinweis!", "Tabella 2"],
)
def test_what_only_says_what_comes_is_a_label(line: str) -> None:
    assert is_label(line)
    assert found(f"Velkor\n\n{line}\n\nWeight: 4 kg\n") == {("Velkor", "Weight", "4 kg")}


def test_a_listing_states_no_fact() -> None:
    assert found("# Velkor\n\n```yaml\nWeight: 4 kg\n```\n\nColour: red\n") == {
        ("Velkor", "Colour", "red")
    }


def test_an_unclosed_listing_goes_on_to_the_end() -> None:
    assert found("# Velkor\n\n~~~\nWeight: 4 kg\n```\nColour: red\n") == set()


def test_a_heading_that_names_nothing_ends_what_was_above_it() -> None:
    text = "# Velkor\n\nWeight: 4 kg\n\n## make --all\n\nColour: red\n"
    assert found(text) == {("Velkor", "Weight", "4 kg")}


def test_prose_leads_away_from_a_line_that_looked_like_a_title() -> None:
    prose = "".join(f"Sentence number {n} tells of something else.\n\n" for n in range(9))
    assert found(f"Velkor\n\n{prose}Colour: red\n") == set()
    assert found(f"## Velkor\n\n{prose}Colour: red\n") == {("Velkor", "Colour", "red")}


def test_a_term_further_in_names_what_stands_below_it_and_a_line_of_code_does_not() -> None:
    term = "Games\n\n        Games/Blocks\n\n                Examples: netris\n"
    assert found(term) == {("Games/Blocks", "Examples", "netris")}
    code = "Velkor\n\n        RUNTIME DESTINATION bin\n        Weight: 4 kg\n"
    assert found(code) == {("Velkor", "Weight", "4 kg")}


@pytest.mark.parametrize("name", ["Examples", "spare parts", "Dimensions"])
def test_a_question_for_many_things_says_are(name: str) -> None:
    assert is_or_are(name) == "are"


@pytest.mark.parametrize("name", ["Weight", "Address", "Status", "Basis", "GPS", "Made in"])
def test_a_question_for_one_thing_says_is(name: str) -> None:
    assert is_or_are(name) == "is"
