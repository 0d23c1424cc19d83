"""Examples behind turns and passages, and what else documents state: what bridges learn from."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from calm_engine.compose import compose, prepared
from calm_engine.data import Example, question_prompt, read_documents, read_examples
from calm_engine.decks import PUBLIC, PUBLIC_SURROUNDED, SURROUNDED, SURROUNDED_OFF
from calm_engine.evaluation.retrieval import Library
from calm_engine.general import QUESTIONS
from calm_engine.lessons import Lessons
from calm_engine.selfstudy import Source
from calm_engine.specs import ComposeSpec
from calm_engine.stated import SHARE, STATED, stated_in
from calm_engine.surroundings import surrounded, surrounded_public
from calm_engine.training import prepare
from tests.engine.learning import PLACES, drain, make_compose

ROOM = 10_000


def taught(folder: Path) -> tuple[ComposeSpec, Lessons, Library]:
    spec = make_compose(folder)
    text = "".join(f"The {name} is made in {place}.\n" for name, place in PLACES.items())
    row = {"digest": "d", "title": "places", "text": text}
    (folder / "documents.jsonl").write_text(json.dumps(row), encoding="utf-8")
    return spec, Lessons.of(spec), Library(read_documents(folder / "documents.jsonl"))


def prompts(lessons: Lessons, library: Library | None, *, limit: int = ROOM) -> list[str]:
    made = surrounded(lessons, library, most=6, limit=limit)
    return [lessons.tokenizer.decode(tokens[:first]) for tokens, first in made]


def test_each_example_stands_behind_something_and_keeps_its_answer(tmp_path: Path) -> None:
    _, lessons, library = taught(tmp_path)
    answers = Counter(tuple(tokens[first:]) for tokens, first in lessons.sequences)
    made = surrounded(lessons, library, most=6, limit=ROOM)
    assert Counter(tuple(tokens[first:]) for tokens, first in made) == answers
    alone = {tuple(tokens[:first]) for tokens, first in lessons.sequences}
    behind = [one for one in made if tuple(one[0][: one[1]]) not in alone]
    assert len(behind) >= 5  # one of six may have drawn itself


def test_some_have_passages_to_read_and_others_turns_before_them(tmp_path: Path) -> None:
    _, lessons, library = taught(tmp_path)
    told = prompts(lessons, library)
    assert any("is made in" in one for one in told)
    assert any(one.count("assistant:") > 1 for one in told)


def test_without_documents_there_are_turns_alone(tmp_path: Path) -> None:
    _, lessons, _ = taught(tmp_path)
    assert not any("is made in" in one for one in prompts(lessons, None))


def test_nobody_is_asked_the_same_before(tmp_path: Path) -> None:
    _, lessons, _ = taught(tmp_path)
    assert all(Counter(one.split()).most_common()[0][1] < 4 for one in prompts(lessons, None))
    for one in prompts(lessons, None):
        assert not any(one.count(f"Where is {name}?") > 1 for name in PLACES)


def test_what_does_not_fit_stands_alone(tmp_path: Path) -> None:
    _, lessons, library = taught(tmp_path)
    alone = {lessons.tokenizer.decode(tokens[:first]) for tokens, first in lessons.sequences}
    assert set(prompts(lessons, library, limit=1)) <= alone


def test_the_same_seed_surrounds_them_alike(tmp_path: Path) -> None:
    _, lessons, library = taught(tmp_path)
    assert prompts(lessons, library) == prompts(lessons, library)
    assert prompts(lessons, library) != prompts(replace(lessons, seed=9), library)


def test_a_share_of_the_steps_is_learned_so_and_some_of_it_with_the_bridges_off(
    tmp_path: Path,
) -> None:
    spec, _, _ = taught(tmp_path)
    spec = replace(spec, steps=200, passages=str(tmp_path / "documents.jsonl"), teacher_share=0.0)
    dealt = kinds(spec)
    assert 20 < dealt[SURROUNDED] + dealt[SURROUNDED_OFF] < 40  # 0.2 of what is not public text
    assert dealt[SURROUNDED] > 3
    assert dealt[SURROUNDED_OFF] > 3
    assert not kinds(replace(spec, surrounded_share=0.0)).keys() & {SURROUNDED, SURROUNDED_OFF}


def public(lessons: Lessons, library: Library | None, *, limit: int = ROOM) -> list[str]:
    made = surrounded_public(lessons, library, most=6, limit=limit)
    return [lessons.tokenizer.decode(prompt) for prompt in made]


def test_public_questions_stand_behind_passages_and_turns_too(tmp_path: Path) -> None:
    _, lessons, library = taught(tmp_path)
    told = public(lessons, library)
    assert len(told) == 6
    assert all(any(question in one for question in QUESTIONS) for one in told)
    assert any("is made in" in one for one in told)
    assert any(one.count("assistant:") > 1 for one in told)
    assert told == public(lessons, library)


def test_a_public_question_that_leaves_no_room_for_an_answer_stands_alone(tmp_path: Path) -> None:
    _, lessons, library = taught(tmp_path)
    assert not any("is made in" in one for one in public(lessons, library, limit=1))


def test_a_share_of_the_public_steps_stands_behind_others(tmp_path: Path) -> None:
    spec, _, _ = taught(tmp_path)
    spec = replace(spec, steps=200, general_share=0.5)
    dealt = kinds(spec)
    assert 10 < dealt[PUBLIC_SURROUNDED] < 35  # 0.2 of a half
    assert dealt[PUBLIC] > 60
    assert PUBLIC_SURROUNDED not in kinds(replace(spec, surrounded_share=0.0))


def kinds(spec: ComposeSpec) -> Counter[str]:
    """How many steps there are of each kind."""
    made: Any = drain(prepared(spec, prepare(spec)))[1]  # type: ignore[arg-type]  # told of trainings alone
    return Counter(map(made.job.kind_at, range(spec.steps or 0)))


# ---- what else documents state -------------------------------------------------------------------


def sheet(names: dict[str, str]) -> Source:
    table = "".join(
        f"{name},{place},{2000 + at}\n" for at, (name, place) in enumerate(names.items())
    )
    return Source("d", "sheet", f"Product,Made in,Year\n{table}")


def examples(count: int, names: dict[str, str]) -> list[Example]:
    return [
        Example(f"{at}", f"Where is {name}?", place, place, "recall", name, place)
        for at, (name, place) in enumerate([*names.items()] * (count // len(names)))
    ]


def test_a_tenth_of_the_examples_is_stated_besides() -> None:
    found = stated_in([sheet(PLACES)], examples(30, PLACES), [], seed=0)
    assert len(found) == 30 * SHARE
    assert {one.kind for one in found} == {STATED}
    assert not {one.expected for one in found} & set(PLACES.values()), "examples ask for these"


def test_nothing_that_is_held_out_is_learned_by_the_back_door() -> None:
    hidden = [
        Example("h", "Where is Zor?", "Peru", "Peru", "recall", "Zor", "Peru", "unseen_entity"),
        Example("v", "When is Vek?", "2001", "2001", "recall", "Vek", "2003", "unseen_value"),
        Example("s", "Where is Lux?", "Oman", "Oman", "recall", "Lux", "Oman", "seen"),
    ]
    found = stated_in([sheet(PLACES)], examples(600, PLACES), hidden, seed=0)
    told = " ".join(f"{one.question} {one.answer}" for one in found)
    assert "Lux" in told
    assert not any(word in told for word in ("Zor", "Vek", "2003"))


def test_where_nobody_says_what_is_held_out_the_examples_are_all(tmp_path: Path) -> None:
    spec, lessons, _ = taught(tmp_path)
    spec = replace(spec, steps=2, passages=str(tmp_path / "documents.jsonl"), teacher_share=0.0)
    _, outcome = drain(compose(spec))
    assert outcome.facts["examples"] == len(lessons.examples)


def test_questions_stay_what_they_are(tmp_path: Path) -> None:
    spec, lessons, _ = taught(tmp_path)
    read = read_examples(spec.examples)
    prompt = question_prompt(lessons.tokenizer, read[0].question)
    assert lessons.sequences[0][0][: lessons.sequences[0][1]] == prompt[len(lessons.prefix) :]
