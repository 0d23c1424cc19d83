"""vLLM says what transformers says, for every family, batch, gate and cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from calm_engine.modeling import CalmForCausalLM
from tests.engine.vllm.playing import (
    ask_transformers,
    ask_vllm,
    keep_composition,
    some_prompts,
    vllm_on,
)
from tests.engine.vllm.quantising import TOLD, pack, round_off
from tests.tiny import some_ids

pytestmark = pytest.mark.vllm

PAIRS = ("mistral+qwen2", "qwen3+llama", "phi3+qwen3", "gemma2+llama", "gemma3_text+gemma2")
GATES = (None, 0.0, 1.0, 0.5)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_says_what_transformers_says(tmp_path: Path, pair: str) -> None:
    model = keep_composition(tmp_path / "together", *pair.split("+"))
    prompts = some_prompts(8)
    gates = [GATES[index % 4] for index in range(8)]
    with vllm_on(tmp_path / "together") as played:
        told = ask_vllm(played, prompts, gates, logprobs=5)
    assert [list(one.token_ids) for one in told] == ask_transformers(model, prompts, gates)
    for prompt, gate, one in zip(prompts, gates, told, strict=True):
        expected = first_logprobs(model, prompt, gate)
        for token, found in one.logprobs[0].items():
            assert found.logprob == pytest.approx(float(expected[token]), abs=1e-3)


def test_two_hundred_prompts_in_one_crowded_batch_are_answered_word_for_word(
    tmp_path: Path,
) -> None:
    model = keep_composition(tmp_path / "together", "llama", "llama", "qwen2")
    prompts = some_prompts(200)
    gates = [GATES[index % 4] for index in range(200)]
    # Prompts are read in pieces, between the words of others.
    with vllm_on(tmp_path / "together", max_num_batched_tokens=32) as played:
        told = ask_vllm(played, prompts, gates)
    assert [list(one.token_ids) for one in told] == ask_transformers(model, prompts, gates)


def test_a_cached_prefix_is_not_taken_behind_another_gate(tmp_path: Path) -> None:
    model = keep_composition(tmp_path / "together", "llama", "llama")
    long = some_ids(1, 96)[0].tolist()
    with vllm_on(tmp_path / "together", block_size=32, disable_log_stats=False) as played:
        for gate in (1.0, 0.0, 0.5, 0.0, 1.0):
            (said,) = ask_vllm(played, [long], [gate])
            assert [list(said.token_ids)] == ask_transformers(model, [long], [gate])
        metrics = {one.name: one.value for one in played.get_metrics() if hasattr(one, "value")}
    # The last two of the five questions found theirs: 96 tokens less the last block.
    assert metrics["vllm:prefix_cache_hits"] == 2 * 64


def test_with_the_gate_shut_the_anchor_answers(tmp_path: Path) -> None:
    model = keep_composition(tmp_path / "together", "llama", "llama")
    prompts = some_prompts(8)
    with vllm_on(tmp_path / "together") as played:
        shut = ask_vllm(played, prompts, [0.0] * 8)
    with vllm_on(tmp_path / "together" / "anchor") as played:
        alone = ask_vllm(played, prompts, [None] * 8)
    assert [one.token_ids for one in shut] == [one.token_ids for one in alone]
    assert ask_transformers(model, prompts, [0.0] * 8) == [list(one.token_ids) for one in alone]


def test_a_compiled_graph_says_the_same(tmp_path: Path) -> None:
    model = keep_composition(tmp_path / "together", "llama", "qwen3")
    prompts = some_prompts(8)
    gates = [GATES[index % 4] for index in range(8)]
    with vllm_on(tmp_path / "together", enforce_eager=False) as played:
        told = ask_vllm(played, prompts, gates)
    assert [list(one.token_ids) for one in told] == ask_transformers(model, prompts, gates)


@pytest.mark.parametrize("how", list(TOLD))
def test_a_quantised_anchor_says_what_its_numbers_say_written_out(tmp_path: Path, how: str) -> None:
    keep_composition(tmp_path / "plain", "llama", "qwen2", change=round_off)
    pack(tmp_path / "plain", tmp_path / "packed", how)
    told = [said_in_bfloat16(tmp_path / name) for name in ("plain", "packed")]
    for plain, packed in zip(*told, strict=True):
        assert plain.token_ids[0] == packed.token_ids[0]
        for token, found in packed.logprobs[0].items():
            if token in plain.logprobs[0]:
                assert found.logprob == pytest.approx(plain.logprobs[0][token].logprob, abs=0.1)
    words = [[token for one in each for token in one.token_ids] for each in told]
    same = sum(one == other for one, other in zip(*words, strict=True))
    assert same / len(words[0]) > 0.9, "only sums are rounded in another order"


def said_in_bfloat16(folder: Path) -> list[Any]:
    prompts, gates = some_prompts(8), [GATES[index % 4] for index in range(8)]
    with vllm_on(folder, dtype="bfloat16") as played:
        return ask_vllm(played, prompts, gates, logprobs=5)


@torch.no_grad()
def first_logprobs(model: CalmForCausalLM, prompt: list[int], gate: float | None) -> torch.Tensor:
    logits = model(torch.tensor([prompt]), gate=1.0 if gate is None else gate).logits
    return torch.log_softmax(logits[0, -1], -1)
