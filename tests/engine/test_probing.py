"""What a model in training is asked: token by token, and by what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calm_engine.data import Asked, collate, end_of_answer, piece_of, shared_prefix
from calm_engine.probing import SPARE, Asking
from calm_engine.recall import marked
from calm_engine.selfstudy import Lesson
from calm_engine.student import Student
from calm_engine.words import Words
from tests.tiny import VOCABULARY, make_model, make_tokenizer

SAID = "Zor Vek Mib Lux Hap"


def asked_for(answer: str, question: str = "Who works here?") -> Lesson:
    return Lesson("question", question, answer, True, "d1")


@pytest.fixture(scope="module")
def asking() -> Asking:
    """A model that answers one question, and nothing else."""
    tokenizer = make_tokenizer()
    student = Student(make_model("llama", layers=2, positions=256, seed=3))
    asking = Asking(student, tokenizer, shared_prefix(tokenizer))
    piece = piece_of(asked_for(SAID), tokenizer, asking.prefix)
    batch = collate([[piece]], prefix=asking.prefix, pad=end_of_answer(tokenizer))
    among = Words(torch.arange(VOCABULARY), VOCABULARY, seed=0).candidates(0)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    for _ in range(60):
        student(batch, among).backward()
        optimizer.step()
        optimizer.zero_grad()
    return asking


def piece_for(asking: Asking, lesson: Lesson) -> Any:
    return piece_of(lesson, asking.tokenizer, asking.prefix)


@pytest.mark.parametrize("question", ["Who works here?", "Where is Zor?", "a b c d e f g"])
def test_what_is_spoken_is_what_greedy_generation_says(asking: Asking, question: str) -> None:
    piece = piece_for(asking, asked_for(SAID, question))
    end = end_of_answer(asking.tokenizer)
    ids = torch.tensor([[*asking.prefix, *piece.ids[: piece.first]]])
    most = len(piece.ids) - piece.first + SPARE
    told = asking.student.model.generate(
        ids, max_new_tokens=most, do_sample=False, eos_token_id=end, pad_token_id=end
    )[0, ids.shape[1] :].tolist()
    wanted = [token for token in told if token != end]
    other = piece_for(asking, asked_for("Vek", "Who else?"))
    assert next(asking.spoken([piece, other])) == wanted
    assert list(asking.spoken([])) == []


@pytest.mark.parametrize(
    ("expected", "is_right"),
    [
        (SAID, True),
        ("Zor, Vek Mib Lux Hap", True),  # a comma less is no other answer
        ("Zor Vek Mib Lux Hap.", True),
        ("Zor Vek Mib Lux Quo", False),
        ("Zor Vek Mib Lux Hap Quo", False),
        ("Zor Vek Mib Lux", False),
        ("Peru", False),
    ],
)
def test_an_answer_counts_when_its_words_are_said_and_no_others(
    asking: Asking, expected: str, *, is_right: bool
) -> None:
    lesson = asked_for(expected)
    (mark,) = marked(asking, [Asked(lesson, piece_for(asking, lesson))]).marks
    assert mark.is_right is is_right


def test_what_was_generated_is_what_is_shown(asking: Asking) -> None:
    lesson = asked_for("Zor, Vek Mib Lux Hap")
    (mark,) = marked(asking, [Asked(lesson, piece_for(asking, lesson))]).marks
    assert mark.said == SAID
