"""Rows read as conversations: a question hears what stands before it, but nothing of its topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from calm_engine.augment import augment
from calm_engine.data import (
    Packed,
    Piece,
    chance_of,
    chat_prompt,
    collate,
    end_of_answer,
    question_prompt,
    shared_prefix,
)
from calm_engine.exposures import Exposure
from calm_engine.feeding import Feed, Row
from calm_engine.hearing import conversed, headers_of
from calm_engine.passages import with_passages
from calm_engine.ranks import ALONE
from calm_engine.words import Candidates, Words
from tests.engine.learning import PLACES, drain, make_augment
from tests.tiny import make_tokenizer

PREFIX = (1, 2)
TOLD = Piece((10, 11), 2, is_asked=False, branches=(((12, 13), 1),), topic="pump")
OTHER = Piece((20, 21, 22), 1, is_asked=True, topic="lamp")
ASKED = Piece((30, 31, 32), 2, is_asked=True, topic="pump")


def spots(packed: Packed, piece: Piece) -> list[int]:
    """Where the tokens of a piece lie in the first row."""
    ids = packed.ids[0].tolist()
    return [ids.index(token) for token in piece.tokens()]


def sees(packed: Packed, one: Piece, other: Piece) -> bool:
    """Whether any token of the one may look at any of the other."""
    return bool(packed.mask[0, 0][spots(packed, one)][:, spots(packed, other)].any())


def heard(row: list[Piece]) -> Packed:
    told = conversed(row, [(7,), (7,)], chance_of(0))
    return collate([told], prefix=PREFIX, pad=0)


def test_a_question_hears_what_stands_before_it_but_not_its_own_topic() -> None:
    packed = heard([TOLD, OTHER, ASKED])
    assert sees(packed, ASKED, OTHER)
    assert sees(packed, OTHER, TOLD)
    assert not sees(packed, ASKED, TOLD)
    assert not sees(packed, OTHER, ASKED)
    assert packed.mask[0, 0][spots(packed, ASKED)][:, : len(PREFIX)].all()


def test_what_is_told_hears_nobody() -> None:
    packed = heard([OTHER, TOLD, ASKED])
    assert not sees(packed, TOLD, OTHER)


def test_where_nobody_hears_every_piece_is_alone() -> None:
    packed = collate([[TOLD, OTHER, ASKED]], prefix=PREFIX, pad=0)
    assert not any(sees(packed, one, two) for one in (OTHER, ASKED) for two in (TOLD,))
    assert packed.positions[0, spots(packed, ASKED)[0]] == len(PREFIX)


def test_what_is_heard_stands_as_far_off_as_in_a_chat() -> None:
    packed = heard([OTHER, ASKED])
    assert packed.positions[0].tolist() == list(range(packed.ids.shape[1]))


def test_a_question_of_no_known_topic_hears_everything() -> None:
    nameless = replace(ASKED, topic="")
    assert sees(heard([TOLD, nameless]), nameless, TOLD)


def test_the_first_question_of_a_row_stands_as_it_always_did() -> None:
    assert conversed([OTHER, ASKED], [(7,)], chance_of(0))[0] == OTHER
    assert conversed([TOLD, OTHER], (), chance_of(0)) == [TOLD, OTHER]


def test_nothing_more_is_to_be_said_for_it() -> None:
    row = [TOLD, OTHER, ASKED]
    alone, together = collate([row], prefix=PREFIX, pad=0), heard(row)
    assert together.wanted.tolist() == alone.wanted.tolist()


class Steps(Feed):
    """Three rows of one question in every step."""

    prefix, pad, seed, headers = PREFIX, 0, 0, ((7,),)
    steps = 100

    def rows(self, step: int) -> list[Row]:  # noqa: ARG002  every step is alike
        return [[TOLD, ASKED], [OTHER], [TOLD]]

    def among(self, step: int, rows: Sequence[Row]) -> Candidates:  # noqa: ARG002  every step is alike
        return Words(torch.arange(40), 40, seed=0).candidates(step)

    def cursor(self, step: int) -> dict[str, int]:
        return {"step": step}

    def exposures(self, steps: int) -> Iterator[Exposure]:  # noqa: ARG002  every step is alike
        return iter(())


def sizes(feed: Feed) -> Counter[tuple[int, int]]:
    """How many steps were read as so many rows of so many tokens."""
    read = (feed.batch(step, ALONE, 1).parts[0][0].ids for step in range(feed.steps))
    return Counter((ids.shape[0], ids.shape[1]) for ids in read)


def test_in_a_quarter_of_the_steps_two_rows_are_one_conversation() -> None:
    alone, joined = (3, len(PREFIX) + 7), (2, len(PREFIX) + 12)
    told = sizes(Steps())
    assert told.keys() == {alone, joined}
    assert 15 < told[joined] < 35


def test_no_conversation_is_longer_than_the_model_has_positions() -> None:
    feed = Steps()
    feed.limit = len(PREFIX) + 7
    assert sizes(feed).keys() == {(3, len(PREFIX) + 7)}


CHATML = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.mark.parametrize("template", [None, CHATML])
def test_turns_follow_one_another_as_in_a_chat(template: str | None) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    prefix = shared_prefix(tokenizer)
    end = [end_of_answer(tokenizer)] if template else []  # plain lines have none
    turn, _ = headers_of(tokenizer)
    questions = [question_prompt(tokenizer, words)[len(prefix) :] for words in ("Who?", "Where?")]
    said = tokenizer.encode("Ada", add_special_tokens=False)
    chat = [("user", "Who?"), ("assistant", "Ada"), ("user", "Where?")]
    whole = chat_prompt(tokenizer, [{"role": role, "content": words} for role, words in chat])
    assert [*prefix, *questions[0], *said, *end, *turn, *questions[1]] == whole


def test_behind_passages_a_question_is_the_same_tokens() -> None:
    tokenizer = make_tokenizer()
    prefix = shared_prefix(tokenizer)
    asked = question_prompt(tokenizer, "Where is it?")[len(prefix) :]
    _, lead = headers_of(tokenizer)
    whole = question_prompt(tokenizer, with_passages("Where is it?", ["It is here."]))
    assert whole[-len(asked) - len(lead) :] == [*lead, *asked]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_who_heard_others_in_training_answers_the_second_question_of_a_chat(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_engine.feeding.HEARD", share)
    spec = replace(make_augment(tmp_path, steps=160), width=48, learning_rate=1e-2)
    _, outcome = drain(augment(spec))
    model = AutoModelForCausalLM.from_pretrained(outcome.folder)
    tokenizer = AutoTokenizer.from_pretrained(outcome.folder)
    right = _right_in_second_turn(model, tokenizer)
    assert (right > 0.6) if share else (right < 0.6), right


def _right_in_second_turn(model: Any, tokenizer: Any) -> float:
    """The share of places that are said when another product was asked about before."""
    names, right = list(PLACES), 0
    for before, name in zip(names, [*names[1:], names[0]], strict=True):
        chat = [
            {"role": "user", "content": f"What is the made in of the {before}?"},
            {"role": "assistant", "content": PLACES[before]},
            {"role": "user", "content": f"What is the made in of the {name}?"},
        ]
        prompt = torch.tensor([chat_prompt(tokenizer, chat)])
        said = model.generate(
            prompt, max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=None
        )
        told = tokenizer.decode(said[0, prompt.shape[1] :], skip_special_tokens=True)
        right += told.strip().startswith(PLACES[name])
    return right / len(names)
