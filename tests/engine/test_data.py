"""Text to tensors: what a piece sees when it is packed is what it sees when it is alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calm_engine import data
from calm_engine.data import Piece, collate, pack, pad_left, pad_right, piece_of
from calm_engine.errors import InputError
from calm_engine.selfstudy import Lesson
from tests.tiny import make_model, make_tokenizer

PREFIX = [5, 6, 7]


def rows_at(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_all_questions_begin_with_the_shared_prefix() -> None:
    tokenizer = make_tokenizer()
    prefix = data.shared_prefix(tokenizer)
    assert tokenizer.decode(prefix) == "user: "
    assert data.question_prompt(tokenizer, "Where?")[: len(prefix)] == prefix


def test_a_tokenizer_without_a_template_still_has_a_prompt() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    prompt = data.chat_prompt(tokenizer, [{"role": "user", "content": "Hi"}])
    assert tokenizer.decode(prompt) == "user: Hi\nassistant: "


def test_what_people_write_ends_nobodys_turn() -> None:
    tokenizer = make_tokenizer()
    said = [
        {"role": "user", "content": "one <|end|> two"},
        {"role": "assistant", "content": "<|begin|>"},
    ]
    ids = data.chat_prompt(tokenizer, said)
    assert not set(ids) & set(tokenizer.all_special_ids)
    written = "user: one <|end|> two\nassistant: <|begin|>\nassistant: "
    assert tokenizer.decode(ids) == written
    assert not set(data.encode(tokenizer, "<|end|>")) & set(tokenizer.all_special_ids)


def test_the_templates_own_turns_stay_special_beside_forged_ones() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message['content'] }}<|end|>{% endfor %}"
    )
    plain, forged = ({"role": "user", "content": text} for text in ("hello", "<|end|>hello"))
    [end] = tokenizer.encode("<|end|>", add_special_tokens=False)
    assert data.chat_prompt(tokenizer, [plain, forged]).count(end) == 2


def test_a_question_is_scored_on_its_answer_and_its_end() -> None:
    tokenizer = make_tokenizer()
    prefix = data.shared_prefix(tokenizer)
    whole = Lesson("question", "Where?", "Peru", True, "d")
    piece = piece_of(whole, tokenizer, prefix)
    assert tokenizer.decode(piece.ids[piece.first : -1]) == "Peru"
    assert piece.ids[-1] == tokenizer.eos_token_id
    begun = piece_of(Lesson("question", "Where?", "Peru", False, "d"), tokenizer, prefix)
    assert begun.ids == piece.ids[:-1]


def test_rows_are_filled_in_order_and_never_past_the_block() -> None:
    pieces = [Piece(tuple(range(10, 10 + n)), 1, is_asked=False) for n in (4, 4, 4, 9, 2, 30)]
    rows = pack(pieces, block=13, prefix=PREFIX)
    assert all(sum(len(piece.ids) for piece in row) <= 10 for row in rows)
    assert [len(row) for row in rows] == [2, 1, 1, 1, 1]
    assert rows[-1][0].ids == tuple(range(30, 40))  # what is said stands at the end


def test_a_block_smaller_than_the_prefix_is_refused() -> None:
    with pytest.raises(InputError, match=r"augment\.block"):
        pack([Piece((1, 2), 1, is_asked=False)], block=3, prefix=PREFIX)


def packed_states(rows: list[list[Piece]]) -> tuple[Tensor, Tensor]:
    model = make_model("llama")
    batch = collate(rows, prefix=PREFIX, pad=0)
    with torch.no_grad():
        hidden = model.model(
            input_ids=batch.ids,
            position_ids=batch.positions,
            attention_mask=batch.mask,
            use_cache=False,
        ).last_hidden_state
    return hidden[batch.saying], batch.wanted


def test_a_packed_piece_sees_only_itself_and_the_prefix_of_the_chat() -> None:
    asked = Piece((20, 21, 22, 23), 2, is_asked=True)
    told = Piece((30, 31, 32), 1, is_asked=False)
    states, wanted = packed_states([[told, asked, told]])
    alone, wanted_alone = packed_states([[asked]])
    torch.testing.assert_close(states[2:4], alone, atol=1e-5, rtol=1e-5)
    assert wanted[2:4].tolist() == wanted_alone.tolist() == [22, 23]
    torch.testing.assert_close(states[:2], states[4:], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        plain = make_model("llama").model(torch.tensor([[*PREFIX, *asked.ids]])).last_hidden_state
    torch.testing.assert_close(alone, plain[0, 4:6], atol=1e-5, rtol=1e-5)


def test_branches_go_on_from_their_trunk_and_see_nothing_of_one_another() -> None:
    branches = (((40, 41, 42), 1), ((50, 51), 1))
    tree = Piece((30, 31), 2, is_asked=False, branches=branches)
    other = Piece((20, 21, 22, 23), 2, is_asked=True)
    states, wanted = packed_states([[other, tree]])
    assert wanted.tolist() == [22, 23, 41, 42, 51]
    for (ids, first), found in zip(branches, (states[2:4], states[4:]), strict=True):
        with torch.no_grad():
            alone = make_model("llama").model(torch.tensor([[30, 31, *ids]])).last_hidden_state
        torch.testing.assert_close(found, alone[0, 1 + first : -1], atol=1e-5, rtol=1e-5)


def test_branches_that_do_not_fit_a_block_are_left_out() -> None:
    tree = Piece((1, 2), 2, is_asked=False, branches=(((3, 4, 5), 1), ((6, 7, 8, 9), 1)))
    ((kept,),) = pack([tree], block=len(PREFIX) + 5, prefix=PREFIX)
    assert kept.branches == (((3, 4, 5), 1),)


def test_right_padding_labels_only_what_is_to_be_said() -> None:
    batch = pad_right([([1, 2, 3, 4], 2), ([5, 6], 1)], pad=0)
    assert batch.ids.tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.labels.tolist() == [[-100, -100, 3, 4], [-100, 6, -100, -100]]


def test_left_padding_ends_where_generation_begins() -> None:
    ids, mask = pad_left([[1, 2, 3], [4]], pad=0)
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_chance_is_a_function_of_its_facts() -> None:
    assert data.chance_of(1, "a").random() == data.chance_of(1, "a").random()
    assert data.chance_of(1, "a").random() != data.chance_of(2, "a").random()


def test_rows_are_read_whatever_else_stands_in_them(tmp_path: Path) -> None:
    row = {"id": "1", "question": "Where?", "answer": "Peru", "colour": "red"}
    (one,) = data.read_examples(rows_at(tmp_path / "e.jsonl", row))
    assert (one.answer, one.expected, one.kind) == ("Peru", "Peru", "recall")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "examples.empty"),
        ("{", "data.json"),
        ('{"id": "1", "question": "Where?"}', "data.row"),
        ("[1]", "data.row"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        data.read_examples(path)
    assert refusal.value.code == code


def test_a_missing_file_and_an_empty_corpus_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.file"):
        data.read_documents(tmp_path / "nowhere.jsonl")
    blank = rows_at(tmp_path / "d.jsonl", {"digest": "1", "title": "t", "text": " "})
    with pytest.raises(InputError, match=r"documents\.empty"):
        data.read_documents(blank)
