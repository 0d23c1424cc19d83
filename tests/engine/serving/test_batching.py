"""The batch: rows that join, leave and fail together say what each would have said alone."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from calm_engine.costs import cache_of
from calm_engine.drafting import Drafting
from calm_engine.errors import EngineError, InputError
from calm_engine.generation import Piece, Sampling, answer
from calm_engine.modeling import CalmForCausalLM
from calm_engine.serving import batching
from calm_engine.serving.batches import Batch, Reading, Row
from calm_engine.serving.batching import Batcher
from calm_engine.serving.line import Loaded, Ticket
from tests.tiny import make_composition, make_tokenizer, with_twin
from tests.waiting import wait_until

GREEDY = Sampling(max_new_tokens=12, temperature=0.0)


class Asker:
    """One person at the batch, who keeps what arrives."""

    def __init__(self, prompt: str, sampling: Sampling, caller: str = "") -> None:
        self.arrived: queue.Queue[Piece | EngineError] = queue.Queue()
        self.times: list[float] = []  # when each piece came
        ids = tuple(make_tokenizer()(prompt)["input_ids"])
        self.ticket = Ticket(ids, sampling, deliver=self._hear, caller=caller)

    def _hear(self, piece: Piece | EngineError) -> None:
        self.times.append(time.monotonic())
        self.arrived.put(piece)

    def next(self) -> Piece | EngineError:
        return self.arrived.get(timeout=20)

    def all(self) -> tuple[str, str, int]:
        """The whole text, how it ended, and how many tokens were drawn."""
        text = ""
        while True:
            piece = self.next()
            assert isinstance(piece, Piece), piece
            text += piece.text
            if piece.finish is not None:
                return text, piece.finish, piece.drawn


def alone(model: CalmForCausalLM, prompt: str, sampling: Sampling) -> tuple[str, str, int]:
    tokenizer = make_tokenizer()
    pieces = list(answer(model, tokenizer, tokenizer(prompt)["input_ids"], sampling))
    return "".join(p.text for p in pieces), pieces[-1].finish or "", pieces[-1].drawn


@pytest.fixture(scope="module")
def model() -> CalmForCausalLM:
    torch.set_num_threads(1)
    return make_composition("llama")


@pytest.fixture
def started() -> Iterator[Callable[..., Batcher]]:
    running: list[Batcher] = []

    def start(model: CalmForCausalLM, **settings: Any) -> Batcher:
        batcher = Batcher(lambda: {"": Loaded(model, make_tokenizer())}, **settings)
        running.append(batcher)
        batcher.start()
        assert wait_until(lambda: batcher.state != "loading")
        assert batcher.failure is None
        return batcher

    yield start
    for batcher in running:
        batcher.stop()


def reading(batcher: Batcher, name: str) -> float:
    lines = batcher.meters.page().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("gate", [1.0, 0.5])
def test_drafts_change_no_word_whoever_comes_and_goes(
    model: CalmForCausalLM, started: Callable[..., Batcher], gate: float, temperature: float
) -> None:
    how = Sampling(max_new_tokens=40, temperature=temperature, seed=3, gate=gate)
    batcher = started(model, drafting=Drafting(tokens=3, confidence=0.0))
    first = Asker("a long way", how)
    batcher.submit(first.ticket)
    arrived = [first.next() for _ in range(6)]  # alone for a while
    second = Asker("b", replace(how, max_new_tokens=8))
    batcher.submit(second.ticket)
    assert second.all() == alone(model, "b", second.ticket.sampling)
    text, *ending = first.all()  # and alone again
    begun = "".join(piece.text for piece in arrived if isinstance(piece, Piece))
    assert (begun + text, *ending) == alone(model, "a long way", how)


def test_one_pass_brings_all_that_a_good_augmenter_drafts(started: Callable[..., Batcher]) -> None:
    twins = with_twin(voice=1.0)
    batcher = started(twins, drafting=Drafting(tokens=4, confidence=0.0))
    steps = reading(batcher, "calm_step_seconds_count")
    asker = Asker("again", replace(GREEDY, max_new_tokens=21))
    batcher.submit(asker.ticket)
    assert asker.all() == alone(twins, "again", asker.ticket.sampling)
    assert reading(batcher, "calm_step_seconds_count") - steps == 4  # 20 tokens, five at a step


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_batched_equals_single(family: str, started: Callable[..., Batcher]) -> None:
    model = make_composition(family)
    batcher = started(model)
    prompts = ["a", "a longer question, much longer than that", "two words", "the last of them"]
    gates = [1.0, 0.0, 0.5, 1.0]
    askers = []
    for prompt, gate, length in zip(prompts, gates, (5, 12, 9, 16), strict=True):
        how = Sampling(max_new_tokens=length, temperature=0.0, gate=gate)
        askers.append((prompt, how, Asker(prompt, how)))
    for _, _, asker in askers:
        batcher.submit(asker.ticket)
    for prompt, how, asker in askers:
        assert asker.all() == alone(model, prompt, how)


def test_short_prompts_that_wait_together_are_read_in_one_pass(
    model: CalmForCausalLM, started: Callable[..., Batcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "CHUNK", 40)
    read = passes(monkeypatch)
    batcher = started(model)
    read.clear()
    askers = [Asker("x" * length, GREEDY) for length in (12, 3, 8, 13, 60, 5)]
    at_once(batcher, askers)
    for asker, length in zip(askers, (12, 3, 8, 13, 60, 5), strict=True):
        assert asker.all() == alone(model, "x" * length, GREEDY)
    # Three of at most 12 tokens; the next would make it four of 13; the long one in pieces.
    assert [len(rows) for rows, _ in read] == [3, 1, 1, 1, 1]
    assert [count for _, count in read] == [12, 13, 40, 20, 5]
    assert reading(batcher, "calm_prompt_tokens_total") == sum((12, 3, 8, 13, 60, 5))


def test_of_prompts_read_together_one_that_fails_takes_nobody_along(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model)
    good, bad, more = (Asker(text, GREEDY) for text in ("good", "bad", "more"))
    bad.ticket.prompt = (10**6, 1)  # no such token
    at_once(batcher, [good, bad, more])
    assert isinstance(bad.next(), EngineError)
    assert good.all() == alone(model, "good", GREEDY)
    assert more.all() == alone(model, "more", GREEDY)


def test_who_is_over_after_the_first_token_joins_no_batch(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model)
    short, long = Asker("one", replace(GREEDY, max_new_tokens=1)), Asker("the other", GREEDY)
    at_once(batcher, [short, long])
    assert short.all() == alone(model, "one", short.ticket.sampling)
    assert long.all() == alone(model, "the other", GREEDY)


def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Row], int]]:
    """The rows and the tokens of each pass over prompts, from now on."""
    told: list[tuple[list[Row], int]] = []
    read = Batch.read

    def listen(batch: Batch, one: Reading, count: int) -> list[tuple[Row, Piece]]:
        told.append(([*one.rows], count))
        return read(batch, one, count)

    monkeypatch.setattr(Batch, "read", listen)
    return told


def at_once(batcher: Batcher, askers: list[Asker]) -> None:
    """Let none be read before all of them wait."""
    with batcher._work:
        for asker in askers:
            batcher.submit(asker.ticket)


def test_a_newcomer_joins_between_two_tokens(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model)
    long = Sampling(max_new_tokens=60, temperature=0.0)
    first = Asker("who was here first", long)
    batcher.submit(first.ticket)
    opening = first.next()
    assert isinstance(opening, Piece)
    second = Asker("hi", GREEDY)
    batcher.submit(second.ticket)
    assert second.all() == alone(model, "hi", GREEDY)
    text, finish, drawn = first.all()
    assert (opening.text + text, finish, drawn) == alone(model, "who was here first", long)


def test_the_bare_anchor_is_the_anchor(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model)
    asker = Asker("what is public", Sampling(max_new_tokens=8, temperature=0.0, gate=0.0))
    batcher.submit(asker.ticket)
    text, _, _ = asker.all()
    ids = torch.tensor([list(asker.ticket.prompt)])
    drawn = model.anchor.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert text.startswith(
        make_tokenizer().decode(drawn, skip_special_tokens=True).rstrip("\ufffd")
    )


def test_a_seed_repeats_in_any_company(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model)
    how = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.9, seed=7)
    other = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.9, seed=8)
    askers = [Asker("throw", how), Asker("throw", other), Asker("throw", how)]
    for asker in askers:
        batcher.submit(asker.ticket)
    one, two, three = (asker.all() for asker in askers)
    assert one == three == alone(model, "throw", how)
    assert one != two


def test_who_leaves_is_gone_before_the_next_step(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model, rows=1)
    endless = Asker("on and on", Sampling(max_new_tokens=80, temperature=0.0))
    batcher.submit(endless.ticket)
    endless.next()
    waiting = Asker("my turn", GREEDY)
    batcher.submit(waiting.ticket)
    endless.ticket.cancel()
    assert waiting.all() == alone(model, "my turn", GREEDY)
    assert wait_until(lambda: reading(batcher, "calm_running") == 0)
    assert endless.arrived.qsize() < 80


def test_a_full_queue_turns_away(model: CalmForCausalLM, started: Callable[..., Batcher]) -> None:
    batcher = started(model, rows=1, queue=1)
    # Nobody reads: the first is under way for eighty tokens, the second waits.
    busy = [Asker("x", Sampling(max_new_tokens=80, temperature=0.0)) for _ in range(8)]
    with pytest.raises(InputError, match=r"server\.busy"):
        any(batcher.submit(asker.ticket) for asker in busy)


def test_who_has_less_under_way_comes_sooner(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model, rows=2, queue=16)
    finished: list[str] = []
    askers = [Asker("many", replace(GREEDY, max_new_tokens=30), "ada") for _ in range(6)]
    askers.append(Asker("one", replace(GREEDY, max_new_tokens=30), "bo"))
    for asker in askers:
        arrived = asker.arrived.put

        def note(piece: Any, arrived: Any = arrived, who: str = asker.ticket.caller) -> None:
            if getattr(piece, "finish", None):
                finished.append(who)
            arrived(piece)

        asker.ticket.deliver = note
        batcher.submit(asker.ticket)
    for asker in askers:
        asker.all()
    assert finished.index("bo") <= 2  # two of ada's were under way before bo came


def test_nobody_who_is_known_by_name_fills_the_line(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model, rows=1, queue=4)
    long = replace(GREEDY, max_new_tokens=80)
    first = Asker("x", long, "ada")
    batcher.submit(first.ticket)
    first.next()  # under way, so that the others wait
    others = [Asker("x", long, "ada") for _ in range(3)]
    for asker in others[:2]:
        batcher.submit(asker.ticket)
    with pytest.raises(InputError, match="busy"):
        batcher.submit(others[2].ticket)
    bo = Asker("x", GREEDY, "bo")
    batcher.submit(bo.ticket)
    assert bo.all()[2] == GREEDY.max_new_tokens
    for asker in [first, *others]:
        asker.ticket.cancel()


def room_for(model: CalmForCausalLM, tokens: int) -> int:
    """Bytes that so many tokens leave in all three caches."""
    return tokens * sum(cache_of(model).values())


def test_who_does_not_fit_beside_the_others_waits_for_them(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    """Two rows of 20 and 40 tokens are a rectangle of 80: so wide is the cache that both share."""
    long, short = replace(GREEDY, max_new_tokens=35), replace(GREEDY, max_new_tokens=15)
    batcher = started(model, cache_bytes=room_for(model, 79))
    first, second = Asker("aaaaa", long), Asker("bbbbb", short)
    assert len(first.ticket.prompt) == len(second.ticket.prompt) == 5
    batcher.submit(first.ticket)
    batcher.submit(second.ticket)
    assert first.all() == alone(model, "aaaaa", long)
    assert second.all() == alone(model, "bbbbb", short)
    assert second.times[0] >= first.times[-1]


def test_who_fits_beside_the_others_does_not_wait(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    long, short = replace(GREEDY, max_new_tokens=35), replace(GREEDY, max_new_tokens=15)
    batcher = started(model, cache_bytes=room_for(model, 80))
    first, second = Asker("aaaaa", long), Asker("bbbbb", short)
    batcher.submit(first.ticket)
    batcher.submit(second.ticket)
    assert first.all() == alone(model, "aaaaa", long)
    assert second.all() == alone(model, "bbbbb", short)
    assert second.times[0] < first.times[-1]


def test_one_that_can_never_fit_holds_nobody_up(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model, cache_bytes=room_for(model, 20))
    assert batcher.most_tokens("", bare=False) == 20
    assert (batcher.most_tokens("", bare=True) or 0) > 20
    large, small = Asker("aaaaa", replace(GREEDY, max_new_tokens=16)), Asker("bbbbb", GREEDY)
    batcher.submit(large.ticket)
    batcher.submit(small.ticket)
    told = large.next()
    assert isinstance(told, EngineError)
    assert told.code == "server.memory"
    assert small.all() == alone(model, "bbbbb", GREEDY)


def test_draining_finishes_what_was_taken(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model)
    taken = Asker("still mine", GREEDY)
    batcher.submit(taken.ticket)
    batcher.drain()
    with pytest.raises(InputError, match=r"server\.draining"):
        batcher.submit(Asker("too late", GREEDY).ticket)
    assert taken.all() == alone(model, "still mine", GREEDY)


def test_a_stopping_thread_tells_who_still_waits(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model, rows=1)
    askers = [Asker("x", Sampling(max_new_tokens=80, temperature=0.0)) for _ in range(3)]
    for asker in askers:
        batcher.submit(asker.ticket)
    batcher.stop()
    last = None
    while not isinstance(last, EngineError):
        last = askers[-1].next()
    assert last.code == "server.draining"


def test_one_bad_request_does_not_stop_the_thread(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(model)
    bad = Asker(
        "x" * (model.streams.limit + 1), GREEDY
    )  # the door refuses it; the thread survives it
    batcher.submit(bad.ticket)
    fault = bad.next()
    assert isinstance(fault, EngineError)
    good = Asker("and on", GREEDY)
    batcher.submit(good.ticket)
    assert good.all() == alone(model, "and on", GREEDY)


def test_a_model_that_does_not_load_is_a_failure() -> None:
    def load() -> dict[str, Loaded]:
        raise InputError("parent.digest", role="anchor")

    batcher = Batcher(load)
    batcher.start()
    assert wait_until(lambda: batcher.state == "failed")
    assert isinstance(batcher.failure, InputError)
    with pytest.raises(InputError, match=r"server\.failed"):
        batcher.submit(Asker("x", GREEDY).ticket)


def test_whatever_ends_the_thread_is_a_failure() -> None:
    """A library may think that the process is its own; who waits must not wait for ever."""

    def load() -> dict[str, Loaded]:
        raise SystemExit(1)

    told: list[str] = []
    batcher = Batcher(load, on_change=lambda: told.append(batcher.state))
    batcher.start()
    assert wait_until(lambda: told == ["failed"])


class Wrapped:
    """A model that answers like a composition and is none, so that its answers cannot be judged."""

    def __init__(self, model: CalmForCausalLM) -> None:
        self._model = model

    def __call__(self, **given: object) -> object:
        return self._model(**given)

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)


def test_an_answer_that_cannot_be_judged_fails_alone(
    model: CalmForCausalLM, started: Callable[..., Batcher]
) -> None:
    batcher = started(Wrapped(model))
    judged, other = Asker("one", GREEDY), Asker("two", GREEDY)
    judged.ticket = replace(judged.ticket, is_judged=True)
    for asker in (judged, other):
        batcher.submit(asker.ticket)
    assert other.all() == alone(model, "two", GREEDY)
    arrived = [judged.next() for _ in range(GREEDY.max_new_tokens)]
    assert isinstance(arrived[-1], InputError)
    assert arrived[-1].code == "influence.model"
