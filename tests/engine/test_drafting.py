"""Drafts keep the words of plain generation, and whoever drafted a token does not read it twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from calm_engine.drafting import Drafted, Drafting, answer_drafted, generate_drafted
from calm_engine.errors import InputError
from calm_engine.generation import Chooser, Sampling, answer
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec
from tests.tiny import (
    POSITIONS,
    awaken,
    make_composition,
    make_model,
    make_pair,
    make_tokenizer,
    some_ids,
    with_twin,
)

PAIRS = [
    ("llama", "llama"),
    ("qwen3", "gpt2"),
    ("gemma2", "gemma2"),
    ("gpt2", "mistral"),
    ("gpt_neox", "qwen3"),
]
COUNT = 20


@torch.no_grad()
def plain(model: CalmForCausalLM, ids: Tensor, count: int = COUNT, **how: object) -> list[int]:
    """Greedy words by single steps of the composition."""
    chosen = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0} | how
    words: Tensor = model.generate(ids, max_new_tokens=count, **chosen)
    return words[0, ids.shape[1] :].tolist()


def drafted(model: CalmForCausalLM, ids: Tensor, count: int = COUNT, **how: object) -> Drafted:
    """The same with drafts, of which even the least likely are made."""
    chosen = {"confidence": 0.0, "ends": ()} | how
    return generate_drafted(model, ids, max_new_tokens=count, **chosen)


def with_two() -> CalmForCausalLM:
    anchor, one = make_pair("llama")
    other = make_model("gpt2", width=24, layers=3, heads=2, seed=7)
    return awaken(CalmForCausalLM.compose(anchor, [one, other]))


class Reader:
    """Counts the positions that the layers of a model read."""

    def __init__(self, layer: nn.Module) -> None:
        self.positions = self.calls = 0
        layer.register_forward_pre_hook(self._count)

    def _count(self, _layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.positions += given[0].shape[1]
        self.calls += 1


# -- the same words --------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_greedy_words_equal_those_without_drafts(pair: tuple[str, str]) -> None:
    model = make_composition(*pair)
    for seed, length in ((4, 1), (5, 7), (6, 19)):
        ids = some_ids(rows=1, tokens=length, seed=seed)
        wanted = plain(model, ids)
        for longest in range(1, 7):
            assert list(drafted(model, ids, draft_tokens=longest).tokens) == wanted


def test_an_unsure_augmenter_drafts_less_and_the_words_stay() -> None:
    model, ids = make_composition("llama"), some_ids(rows=1)
    wanted = plain(model, ids)
    told = [drafted(model, ids, confidence=least) for least in (0.0, 0.05, 1.0)]
    assert all(list(one.tokens) == wanted for one in told)
    assert told[0].proposed > told[1].proposed > told[2].proposed == 0
    assert told[2].passes == COUNT


def test_several_augmenters_read_what_one_of_them_drafts() -> None:
    model, ids = with_two(), some_ids(rows=1)
    wanted = plain(model, ids)
    for index in (0, 1):
        told = drafted(model, ids, augmenter=index)
        assert list(told.tokens) == wanted
        assert told.proposed > 0


@pytest.mark.parametrize("gate", [(1.0, 0.0), (0.0, 1.0), (0.5, 0.25), 0.5])
def test_gates_are_kept(gate: float | tuple[float, float]) -> None:
    model, ids = with_two(), some_ids(rows=1)
    told = drafted(model, ids, gate=gate)
    assert list(told.tokens) == plain(model, ids, gate=gate)
    assert told.proposed > 0


def test_the_first_augmenter_that_is_let_in_drafts() -> None:
    model = with_two()
    readers = [Reader(decoder.layers[0]) for decoder in model.streams.below]
    drafted(model, some_ids(rows=1), gate=(0.0, 1.0))
    assert readers[1].calls > readers[0].calls


def test_with_the_gate_shut_no_augmenter_runs() -> None:
    model, ids = make_composition("llama"), some_ids(rows=1)
    reader = Reader(model.streams.below[0].layers[0])
    told = drafted(model, ids, gate=0.0)
    assert list(told.tokens) == plain(model.anchor, ids)
    assert reader.calls == told.proposed == told.acceptance == 0
    assert told.passes == COUNT


@pytest.mark.parametrize("parts", [(True, False), (False, True), (False, False)])
def test_parts_may_be_switched_off(parts: tuple[bool, bool]) -> None:
    model, ids = make_composition("llama"), some_ids(rows=1)
    model.set_parts(bridges=parts[0], output=parts[1])
    assert list(drafted(model, ids).tokens) == plain(model, ids)


def test_without_an_output_path_the_augmenter_still_drafts() -> None:
    spec = BridgeSpec.paper(connections=[(1, 1), (2, 3)])
    model, ids = make_composition("llama", "gpt2", spec=spec), some_ids(rows=1)
    told = drafted(model, ids)
    assert list(told.tokens) == plain(model, ids)
    assert told.proposed > 0


# -- what drafts are worth -------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [1, 3, 4])
def test_an_augmenter_that_agrees_is_accepted_whole(longest: int) -> None:
    told = drafted(
        with_twin(voice=1.0), some_ids(rows=1), 1 + 5 * (longest + 1), draft_tokens=longest
    )
    assert told.acceptance == 1.0
    assert told.passes == 1 + 5
    assert told.proposed == 5 * longest


def test_an_augmenter_that_always_disagrees_costs_no_word() -> None:
    model, ids = with_twin(voice=-1.0), some_ids(rows=1)
    told = drafted(model, ids)
    assert list(told.tokens) == plain(model, ids)
    assert told.acceptance == 0.0
    assert told.passes == COUNT
    assert told.proposed == 4  # refused whole, it drafts no more


def test_an_augmenter_drafts_again_when_it_guessed_right() -> None:
    model, ids = with_twin(voice=1.0), some_ids(rows=1, tokens=19, seed=6)
    with torch.no_grad():
        model.augmenters[0].lm_head.weight[::4] *= -1.0  # it misses a quarter of the words
    told = drafted(model, ids, draft_tokens=1)
    assert told.proposed - told.accepted > 1  # refused, and later refused anew
    assert told.accepted > 0


@pytest.mark.parametrize("make", [lambda: with_twin(voice=1.0), lambda: make_composition("llama")])
def test_nothing_is_read_twice(make: object) -> None:
    """Each position of a block is read once by each model, also by the one that drafted it."""
    model, ids = make(), some_ids(rows=1)
    readers = [Reader(one.layers[0]) for one in (model.streams.top, *model.streams.below)]
    told = drafted(model, ids)
    read = ids.shape[1] + told.passes - 1 + told.proposed
    assert [reader.positions for reader in readers] == [read, read]
    assert readers[0].calls == told.passes
    assert told.passes + told.accepted == COUNT


def test_accepted_words_are_read_once_and_for_all() -> None:
    model, ids = with_twin(voice=1.0), some_ids(rows=1)
    reader = Reader(model.streams.below[0].layers[-1])
    drafted(model, ids)
    assert reader.positions == ids.shape[1] + COUNT - 1


# -- where an answer ends --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7])
def test_the_longest_answer_is_kept_exactly(count: int) -> None:
    for model in (with_twin(voice=1.0), make_composition("llama")):
        ids = some_ids(rows=1)
        assert list(drafted(model, ids, count).tokens) == plain(model, ids, count)


def test_an_answer_ends_inside_an_accepted_draft() -> None:
    model, ids = with_twin(voice=1.0), some_ids(rows=1)
    words = plain(model, ids)
    for last in range(1, 9):
        wanted = words[: words.index(words[last]) + 1]
        assert list(drafted(model, ids, ends={words[last]}).tokens) == wanted
        model.generation_config.eos_token_id = words[last]
        assert list(drafted(model, ids, ends=None).tokens) == wanted


def test_an_answer_may_fill_every_position_and_no_more() -> None:
    for family in ("llama", "gpt2"):
        model, ids = make_composition(family), some_ids(rows=1, tokens=POSITIONS - 9)
        assert list(drafted(model, ids, 10).tokens) == plain(model, ids, 10)
        with pytest.raises(InputError) as refusal:
            drafted(model, ids, 11)
        assert refusal.value.code == "sequence.too_long"


def test_a_stop_string_ends_a_drafted_text() -> None:
    model, tokenizer = with_twin(voice=1.0), make_tokenizer()
    prompt = some_ids(rows=1)[0].tolist()
    whole = "".join(
        piece.text
        for piece in answer(model, tokenizer, prompt, Sampling(max_new_tokens=40, temperature=0.0))
    )
    assert len(whole) > 6
    how = Sampling(max_new_tokens=40, temperature=0.0, stop=(whole[4:6],))
    wanted = list(answer(model, tokenizer, prompt, how))
    assert list(answer_drafted(model, tokenizer, prompt, how, Drafting(confidence=0.0))) == wanted
    assert wanted[-1].finish == "stop"


# -- drawing by luck -------------------------------------------------------------------------------


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_a_seed_draws_the_same_words_with_and_without_drafts(top_p: float) -> None:
    model, tokenizer = make_composition("llama"), make_tokenizer()
    prompt = some_ids(rows=1)[0].tolist()
    told = []
    for seed in range(5):
        how = Sampling(max_new_tokens=COUNT, temperature=1.0, top_p=top_p, seed=seed)
        wanted = list(answer(model, tokenizer, prompt, how))
        run = answer_drafted(model, tokenizer, prompt, how, Drafting(confidence=0.0))
        assert list(run) == wanted
        told.append("".join(piece.text for piece in wanted))
    assert len(set(told)) == 5


def test_an_augmenter_that_agrees_is_accepted_at_any_temperature() -> None:
    told = drafted(with_twin(voice=1.0), some_ids(rows=1), temperature=1.5, seed=1)
    assert told.acceptance == 1.0
    assert told.accepted > 0


def test_drafted_words_follow_the_compositions_distribution() -> None:
    """Chi-square of second words, some of them drafted, against the exact chances."""
    anchor = make_model("llama", vocabulary=6, layers=2, heads=2, width=16, seed=1)
    other = make_model("llama", vocabulary=6, layers=2, heads=2, width=8, seed=2)
    model = awaken(CalmForCausalLM.compose(anchor, [other]))
    prompt, draws, temperature = torch.tensor([[3, 4]]), 600, 1.5
    with torch.no_grad():
        first = torch.softmax(model(prompt).logits[0, -1].double() / temperature, -1)
        both = torch.cat((prompt.repeat(6, 1), torch.arange(6)[:, None]), dim=1)
        second = torch.softmax(model(both).logits[:, -1].double() / temperature, -1)
    wanted = (first[:, None] * second).sum(0) * draws
    seen = torch.zeros(6, dtype=torch.double)
    accepted = 0
    for seed in range(draws):
        # Three words, so that the second may be a draft.
        told = drafted(model, prompt, 3, draft_tokens=1, temperature=temperature, seed=seed)
        seen[told.tokens[1]] += 1
        accepted += told.accepted
    assert draws // 10 < accepted < draws  # many a second word was drafted, and many was not
    assert float(((seen - wanted).pow(2) / wanted).sum()) < 15.09  # five degrees, one in a hundred


def test_what_will_be_drawn_can_be_asked_ahead() -> None:
    logits = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    how = Sampling(temperature=1.0, seed=7)
    asked, silent = Chooser(how), Chooser(how)
    guesses = [asked.guess(one, ahead) for ahead, one in enumerate(logits)]
    assert [asked.take(one) for one in logits] == guesses == [silent.take(one) for one in logits]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "field"),
    [
        ({"draft_tokens": 0}, "tokens"),
        ({"confidence": 1.5}, "confidence"),
        ({"augmenter": 1}, "augmenter"),
        ({"augmenter": -1}, "augmenter"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(how: dict[str, float], field: str) -> None:
    with pytest.raises(InputError) as refusal:
        drafted(make_composition("llama"), some_ids(rows=1), **how)
    assert refusal.value.code == "draft.value"
    assert refusal.value.facts["field"] == field


def test_an_augmenter_of_another_vocabulary_is_refused() -> None:
    model = with_two()
    model.streams.below[0].vocabulary -= 1
    with pytest.raises(InputError) as refusal:
        drafted(model, some_ids(rows=1))
    assert refusal.value.code == "draft.vocabulary"
    assert drafted(model, some_ids(rows=1), augmenter=1).proposed > 0


def test_several_rows_and_bare_models_are_refused() -> None:
    model = make_composition("llama")
    with pytest.raises(InputError) as refusal:
        drafted(model, some_ids(rows=2))
    assert refusal.value.code == "draft.rows"
    with pytest.raises(InputError) as refusal:
        drafted(model.anchor, some_ids(rows=1))
    assert refusal.value.code == "draft.model"
