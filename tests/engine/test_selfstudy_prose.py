"""Prose of any document becomes lessons, and the probe never asks in words that were taught."""

from __future__ import annotations

import pytest

from calm_engine.selfstudy import KINDS, Lesson, Source, study
from calm_engine.selfstudy.prose import blocks_of, sentences_in
from calm_engine.selfstudy.words import plain

MANUAL = """\
5.6.2. Maintainer
-----------------

The maintainer field names the person who answers for the package. It is
required. A udeb is a package for the installer, and nothing else.

Source packages must not contain generated files, e.g. object code. Report
every broken link to the front desk of the archive-team within three days.

These fields are known:

* Source
* Version
* Maintainer

"Uploaders"
   names the people who may upload
"""


def source(text: str, digest: str = "d1") -> Source:
    return Source(digest, "manual.txt", text)


def asked(text: str, kind: str) -> dict[str, str]:
    """Every question of a kind that the text gives, with its answer."""
    lessons = study([source(text)]).by_kind().get(kind, [])
    return {one.given: one.said for one in lessons if one.form in ("question", "inverse")}


def test_headings_items_terms_and_wrapped_paragraphs_are_told_apart() -> None:
    blocks = list(blocks_of(MANUAL))
    assert (blocks[0].kind, blocks[0].name, blocks[0].text) == ("heading", "5.6.2", "Maintainer")
    assert [one.text for one in blocks if one.kind == "item"] == ["Source", "Version", "Maintainer"]
    assert [one.name for one in blocks if one.kind == "term"] == ["Uploaders"]
    assert "the package. It is required." in blocks[1].text


def test_an_abbreviation_ends_no_sentence() -> None:
    assert len(list(sentences_in("Use a tool, e.g. Make, or none. Then stop."))) == 2


def test_a_definition_is_asked_both_ways() -> None:
    told = asked(MANUAL, "definition")
    assert told["What is a package for the installer?"] == "a udeb"
    assert told["How does this go on: a udeb is ...?"] == "a package for the installer"
    assert told["How does this go on: Source packages must not ...?"] == "contain generated files"


def test_a_sentence_about_it_defines_nothing() -> None:
    assert not any(given.lower().startswith("go on: it ") for given in asked(MANUAL, "definition"))


def test_a_section_is_found_by_its_title_and_by_its_number() -> None:
    told = asked(MANUAL, "section")
    assert told["What is section 5.6.2 about?"] == "Maintainer"
    assert told["Which section is about Maintainer?"] == "5.6.2"


def test_a_list_is_asked_by_its_lead() -> None:
    assert asked(MANUAL, "list") == {
        "What belongs to this list: These fields are known?": "Source, Version, Maintainer",
        "Which points follow: These fields are known?": "Source, Version, Maintainer",
    }


def test_the_rarest_telling_term_of_a_sentence_is_left_out() -> None:
    assert "archive-team" in asked(MANUAL, "gap").values()


def test_two_answers_to_one_question_are_taught_neither() -> None:
    text = "The gate is open on work days. The gate is open on Sundays until noon.\n"
    assert "The gate is" not in str(asked(text.replace("Sundays", "Sundays too"), "definition"))
    assert study([source(text)]).dropped["definition: several answers"] > 0


def test_a_wrapped_sentence_with_a_colon_is_no_fact() -> None:
    text = (
        "Every maintainer should read the notes of the last release before an upload\n"
        "Warning: an upload without them is refused by the queue and comes back\n"
        "to you within the hour.\n"
    )
    assert study([source(text)]).found == ()


def test_commas_in_sentences_make_no_table() -> None:
    text = "Read it first, then sign\nSign it twice, then send\nSend it once, then wait\n"
    assert study([source(text)]).found == ()


def test_every_lesson_names_its_kind_its_tag_and_its_document() -> None:
    for lessons in study([source(MANUAL)]).by_kind().values():
        assert {(one.digest, one.source) for one in lessons} == {("d1", "manual.txt")}
        assert {one.kind for one in lessons} <= set(KINDS)


@pytest.mark.parametrize("kind", ["definition", "section", "list", "gap", "passage"])
def test_a_rejected_kind_is_neither_taught_nor_asked(kind: str) -> None:
    kept = study([source(MANUAL)], without=(kind,))
    assert kind not in kept.by_kind()
    assert kind not in {one.kind for one in kept.held_out}


def test_the_probe_asks_in_no_wording_that_was_taught() -> None:
    found = study([source(MANUAL), source("Name,Made in\nZor,Peru\nVek,Cuba\nMib,Iran\n", "d2")])
    taught = {_bare(one) for each in found.by_kind().values() for one in each}
    assert {one.form for one in found.held_out} == {"question", "cloze", "inverse", "inverse cloze"}
    assert not taught & {_bare(one) for one in found.held_out}


def _bare(one: Lesson) -> str:
    return plain(one.given.rpartition("] ")[2])
