"""The static cache says what the growing one says, and a decode step compiles without a break."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import CompileConfig

from calm_engine.cache import CalmCache
from calm_engine.errors import InputError
from calm_engine.modeling import CalmForCausalLM
from calm_engine.static_cache import StaticCalmCache
from tests.tiny import (
    FAMILIES,
    POSITIONS,
    make_composition,
    said,
    some_ids,
)

ROOM = 24


@pytest.fixture
def model() -> CalmForCausalLM:
    return make_composition("llama", "gpt2")


def close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, atol=1e-3, rtol=1e-3))


def padded() -> tuple[Tensor, Tensor]:
    """Two rows of 14 tokens, the first of them padded on the left by five; their mask."""
    ids = some_ids(tokens=14)
    ids[0, :5] = 0
    return ids, (ids != 0).long()


# -- the same words --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_static_steps_equal_the_full_pass(family: str) -> None:
    model = make_composition(family)
    ids, mask = padded()
    cache = model.new_cache(static=ROOM)
    steps = [said(model, ids[:, :8], attention_mask=mask[:, :8], past_key_values=cache)]
    steps += [said(model, part, past_key_values=cache) for part in ids[:, 8:].split([1, 2, 3], 1)]
    full = said(model, ids, attention_mask=mask)
    assert close(torch.cat(steps, dim=1)[mask.bool()], full[mask.bool()])


def test_static_words_equal_dynamic_words(model: CalmForCausalLM) -> None:
    ids, mask = padded()
    how = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    for more in ({}, {"num_beams": 3}, {"gate": torch.tensor([0.0, 1.0])}):
        dynamic = model.generate(ids, attention_mask=mask, **how, **more)
        static = model.generate(
            ids, attention_mask=mask, cache_implementation="static", **how, **more
        )
        assert torch.equal(static, dynamic)


def test_gate_zero_with_a_static_cache_is_the_anchor(model: CalmForCausalLM) -> None:
    ids = some_ids()
    cache = model.new_cache(static=ROOM)
    steps = [said(model, part, past_key_values=cache, gate=0.0) for part in ids.split([9, 3], 1)]
    assert close(torch.cat(steps, dim=1), said(model.anchor, ids))


def test_a_cropped_static_cache_is_as_if_never_grown(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=10)
    cache = model.new_cache(static=ROOM)
    said(model, ids, past_key_values=cache)
    cache.crop(-4)
    assert int(cache.get_seq_length()) == 6
    assert close(said(model, ids[:, 6:], past_key_values=cache), said(model, ids)[:, 6:])
    with pytest.raises(InputError, match=r"cache\.crop"):
        cache.crop(3)


def test_a_reset_static_cache_starts_anew_in_the_same_place(model: CalmForCausalLM) -> None:
    ids = some_ids()
    cache = model.new_cache(static=ROOM)
    said(model, some_ids(seed=9), past_key_values=cache)
    place = cache.joints[0].keys.data_ptr()
    cache.reset()
    assert close(said(model, ids, past_key_values=cache), said(model, ids))
    assert cache.joints[0].keys.data_ptr() == place


# -- what is refused -------------------------------------------------------------------------------


def test_more_room_than_positions_is_refused(model: CalmForCausalLM) -> None:
    assert isinstance(model.new_cache(static=POSITIONS), StaticCalmCache)
    with pytest.raises(InputError, match=r"sequence\.too_long"):
        model.new_cache(static=POSITIONS + 1)


def test_a_full_static_cache_takes_no_more(model: CalmForCausalLM) -> None:
    cache = model.new_cache(static=12)
    said(model, some_ids(tokens=12), past_key_values=cache)
    with pytest.raises(InputError, match=r"cache\.room"):
        said(model, some_ids(tokens=1), past_key_values=cache)


def test_a_static_cache_keeps_to_its_parts(model: CalmForCausalLM) -> None:
    cache = model.new_cache(static=ROOM)
    said(model, some_ids(), past_key_values=cache)
    with pytest.raises(InputError, match=r"cache\.parts"):
        said(model, some_ids(tokens=1), past_key_values=cache, gate=0.0)


def test_rows_of_a_static_cache_come_and_go_together(model: CalmForCausalLM) -> None:
    cache = model.new_cache(static=ROOM)
    said(model, some_ids(), past_key_values=cache)
    with pytest.raises(InputError, match=r"cache\.kind"):
        cache.select(torch.tensor([0]))
    with pytest.raises(InputError, match=r"cache\.kind"):
        StaticCalmCache.join([cache, cache])
    assert isinstance(cache.empty_like(), StaticCalmCache)
    assert isinstance(model.new_cache(), CalmCache)


@pytest.mark.parametrize("kind", ["quantized", "offloaded"])
def test_another_kind_of_cache_is_refused(kind: str, model: CalmForCausalLM) -> None:
    with pytest.raises(InputError, match=r"cache\.kind"):
        model.generate(some_ids(), max_new_tokens=2, cache_implementation=kind)


# -- compiled --------------------------------------------------------------------------------------

# torch's compiler does so with its own hands, and warns of itself.
of_torch = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@of_torch
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_decode_step_compiles_whole_once_and_says_the_same(family: str) -> None:
    """Without a break in the graph, and without a second graph for a later step."""
    model = make_composition(family)
    ids, mask = padded()
    graphs = []

    def count(graph: torch.fx.GraphModule, _inputs: object) -> object:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    cache = model.new_cache(static=ROOM)
    with torch.no_grad():
        model(ids[:, :8], attention_mask=mask[:, :8], past_key_values=cache)
        step = torch.compile(model, fullgraph=True, backend=count, dynamic=False)
        steps = [
            step(ids[:, at : at + 1], past_key_values=cache, logits_to_keep=1).logits.clone()
            for at in range(8, 14)
        ]
    assert len(graphs) == 1
    assert close(torch.cat(steps, dim=1), said(model, ids, attention_mask=mask)[:, 8:])


@of_torch
def test_the_words_of_compiled_steps_are_those_of_generate(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=6)
    torch._dynamo.reset()
    cache = model.new_cache(static=ROOM)
    step = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    with torch.no_grad():
        words = model(ids, past_key_values=cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
        told = [ids, words]
        for _ in range(7):
            words = step(words, past_key_values=cache, logits_to_keep=1).logits.argmax(-1)
            told.append(words)
    how = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    assert torch.equal(torch.cat(told, dim=1), model.generate(ids, **how))


@of_torch
def test_generate_compiles_its_steps_whole(model: CalmForCausalLM) -> None:
    """As `generate` does by itself on a GPU."""
    ids, mask = padded()
    torch._dynamo.reset()
    how = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    compiling = CompileConfig(fullgraph=True, backend="aot_eager", mode=None, dynamic=False)
    compiling._compile_all_devices = True
    told = model.generate(
        ids, attention_mask=mask, cache_implementation="static", compile_config=compiling, **how
    )
    assert hasattr(model, "_compiled_call")
    assert torch.equal(told, model.generate(ids, attention_mask=mask, **how))
