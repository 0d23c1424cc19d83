"""What held-out questions share with what is learned is found, and wordings give nothing away."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm_engine.overlap import COMMON, RUN, Overlap, overlap

NAMES = ("Zor", "Vek", "Mib", "Lux", "Pim", "Tal")
WORDS = "the northern crew greases every bearing of the old press on Mondays"


def row(name: str, question: str, answer: str = "", entity: str = "") -> dict[str, str]:
    return {"id": name, "question": question, "answer": answer, "entity": entity}


def asked(names: tuple[str, ...]) -> list[dict[str, str]]:
    told = "Please tell me what the largest permitted inlet pressure of the {} is in bar."
    return [
        row(name, told.format(name), str(4 + len(name) * at), name) for at, name in enumerate(names)
    ]


def test_a_run_of_eight_words_in_both_is_found_and_seven_are_not() -> None:
    held = [row("long", f"Why is it that {WORDS}?"), row("none", "When is lunch?", "At noon.")]
    words = WORDS.split()
    taught = [row("t", f"Say who: {' '.join(words[:RUN])}.")]
    assert overlap(taught, held).run == {"long"}
    taught = [row("t", f"Say who: {' '.join(words[: RUN - 1])}.")]
    assert overlap(taught, held).run == frozenset()


def test_case_and_signs_hide_no_run() -> None:
    taught = [row("t", WORDS.upper().replace(" ", ", "))]
    assert overlap(taught, [row("held", WORDS)]).run == {"held"}


def test_nearly_the_same_text_is_found_though_no_run_is_long_enough() -> None:
    taught = [row("t", "Who greases the press?", "Crew North.")]
    near = row("near", "Who greases the press?", "Crew North!")
    other = row("other", "Who paints the press?", "Crew South.")
    assert overlap(taught, [near, other]) == Overlap(near=frozenset({"near"}))


def test_how_several_entities_are_asked_about_gives_nothing_away() -> None:
    assert overlap(asked(NAMES[:3]), asked(NAMES[3:])).either == frozenset()


def test_a_held_out_entity_under_another_name_is_found_by_what_is_said_of_it() -> None:
    held = row("held", f"Of the Mark Two: is it so that {WORDS}?", entity="Mark Two")
    taught = [*asked(NAMES), row("t", f"MK2, {WORDS}, or not?", entity="MK2")]
    assert overlap(taught, [held]).run == {"held"}


def test_what_very_many_rows_hold_is_a_wording_whatever_they_are_about() -> None:
    begun = "As of this year and by the handbook of our house,"
    many = [row(str(at), f"{begun} is rule {at * 37} kept?") for at in range(COMMON)]
    assert overlap(many[:3], [row("held", f"{begun} who cooks?")]).run == {"held"}
    assert overlap(many, [row("held", f"{begun} who cooks?")]).run == frozenset()


@pytest.mark.parametrize("taught", [[], asked(NAMES)])
def test_where_nothing_is_shared_nothing_is_found(taught: list[dict[str, str]]) -> None:
    assert overlap(taught, [row("held", "", ""), row("b", "When is lunch?")]) == Overlap()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abc ", max_size=40), min_size=1, max_size=6), st.integers(0, 99))
def test_the_order_of_rows_decides_nothing(texts: list[str], turn: int) -> None:
    rows = [row(str(at), text) for at, text in enumerate(texts)]
    cut = turn % len(rows)
    taught, held = rows[:cut], rows[cut:]
    assert overlap(taught, held) == overlap(taught[::-1], held[::-1])
