"""Text comes out whole: characters, stop strings, and the tokens that made them."""

from __future__ import annotations

import random

import pytest
import torch

from calm_engine.generation import Answer, Piece, Sampling, Words, choose
from tests.tiny import VOCABULARY, make_tokenizer

TOKENIZER = make_tokenizer()


def say(text: str | bytes, sampling: Sampling) -> list[Piece]:
    """Let an answer draw the bytes of a text, one token each, then the end token."""
    raw = text if isinstance(text, bytes) else text.encode()
    letters = {id_: TOKENIZER.convert_ids_to_tokens(id_) for id_ in range(VOCABULARY)}
    table = {token: id_ for id_, token in letters.items()}
    alphabet = _byte_letters()
    answer = Answer(TOKENIZER, sampling, frozenset({2}))
    pieces = []
    for token in [*(table[alphabet[byte]] for byte in raw), 2]:
        logits = torch.full((VOCABULARY,), -50.0)
        logits[token] = 50.0
        pieces.append(answer.take(logits))
        if answer.finish:
            break
    return pieces


def _byte_letters() -> dict[int, str]:
    """GPT-2's letter for each byte: printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    others = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(256 + n) for n, byte in enumerate(others)}


def joined(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


GREEDY = Sampling(max_new_tokens=400, temperature=0.0)


@pytest.mark.parametrize(
    "text", ["plain", "naïve café", "日本語と한국어", "🙂🙃 👩‍🚀!", "a\n\n  b\t"]
)
def test_characters_of_many_tokens_come_out_whole(text: str) -> None:
    pieces = say(text, GREEDY)
    assert joined(pieces) == text
    assert all("\ufffd" not in piece.text for piece in pieces)
    assert pieces[-1].finish == "stop"


def test_half_a_character_at_the_end_is_left_out() -> None:
    assert joined(say("wait: 🙂".encode()[:-2], GREEDY)) == "wait: "


def test_bytes_that_are_no_text_do_not_hold_back_what_follows() -> None:
    pieces = say(b"\xff" * 100 + b"hello", GREEDY)
    assert joined(pieces).endswith("hello")
    assert joined(pieces).encode("utf-8")


@pytest.mark.parametrize("stop", ["END", "E", "ND", "D of"])
def test_a_stop_string_across_tokens_is_never_shown(stop: str) -> None:
    pieces = say("before END of all", Sampling(temperature=0.0, stop=("never", stop)))
    assert joined(pieces) == "before END of all".split(stop)[0]
    assert pieces[-1].finish == "stop"


def test_what_only_looked_like_a_stop_string_is_shown_after_all() -> None:
    assert joined(say("the EN is no END", Sampling(temperature=0.0, stop=("END.",)))) == (
        "the EN is no END"
    )


def test_the_limit_ends_an_answer() -> None:
    pieces = say("too long", Sampling(max_new_tokens=3, temperature=0.0))
    assert (joined(pieces), pieces[-1].finish, pieces[-1].drawn) == ("too", "length", 3)


def test_scored_tokens_arrive_with_their_text() -> None:
    pieces = say("aé!", Sampling(temperature=0.0, top_logprobs=2))
    scored = [token for piece in pieces for token in piece.tokens]
    assert [len(scored), scored[0].text, scored[-1].text] == [4, "a", "!"]
    assert all(token.logprob == pytest.approx(0.0, abs=1e-6) for token in scored)
    assert all(len(token.top) == 2 for token in scored)


def test_nothing_after_a_stop_string_is_scored() -> None:
    pieces = say("ab##cd", Sampling(temperature=0.0, top_logprobs=0, stop=("##",)))
    assert [token.text for piece in pieces for token in piece.tokens] == ["a", "b"]


def test_words_equal_decoding_at_once() -> None:
    chance = random.Random(5)  # noqa: S311 noise, no secret
    for _ in range(20):
        ids = [chance.randrange(3, VOCABULARY) for _ in range(120)]
        words = Words(TOKENIZER)
        text = "".join(words.add(token) for token in ids) + words.end()
        whole = TOKENIZER.decode(ids, clean_up_tokenization_spaces=False)
        assert text.rstrip("\ufffd") == whole.rstrip("\ufffd")


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0])
    assert {choose(logits, temperature=0.0, top_p=1.0, draw=d / 9) for d in range(9)} == {1}


def test_a_small_nucleus_leaves_the_unlikely_out() -> None:
    logits = torch.log(torch.tensor([0.05, 0.6, 0.3, 0.05]))
    draws = [choose(logits, temperature=1.0, top_p=0.85, draw=d / 100) for d in range(100)]
    assert set(draws) == {1, 2}
    assert draws.count(1) == pytest.approx(67, abs=1)


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([0.1, 0.2, 0.7]))
    draws = [choose(logits, temperature=1.0, top_p=1.0, draw=d / 1000) for d in range(1000)]
    assert [draws.count(token) for token in range(3)] == pytest.approx([100, 200, 700], abs=1)
