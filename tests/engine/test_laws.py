"""The laws of a composition, on every decoder family and across families.

Each law stands for a fault that was found in a public implementation. Tolerances are stated where
two ways of computing may round differently; "bit for bit" means torch.equal.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from calm_engine.families import tensors_digest
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec
from tests.tiny import (
    FAMILIES,
    make_composition,
    make_pair,
    said,
    some_ids,
)

PAIRS = [
    *((family, family) for family in FAMILIES),
    ("llama", "gpt2"),
    ("gpt2", "qwen3"),
    ("qwen2", "mistral"),
    ("gemma2", "olmo2"),
    ("phi3", "gpt_neox"),
    ("smollm3", "gemma3_text"),
]
ROUNDING = 2e-4  # logits are of the order of ten here


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    names: tuple[str, str] = request.param
    return names


@pytest.fixture
def model(pair: tuple[str, str]) -> CalmForCausalLM:
    return make_composition(*pair)


def close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, atol=ROUNDING, rtol=ROUNDING))


def test_a_later_token_never_changes_an_earlier_logit(model: CalmForCausalLM) -> None:
    ids = some_ids()
    changed = ids.clone()
    changed[:, 8:] = some_ids(seed=9)[:, 8:]
    one, other = said(model, ids), said(model, changed)
    assert close(one[:, :8], other[:, :8])
    assert not close(one[:, 8:], other[:, 8:])


def test_a_later_token_sends_no_slope_backwards(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1)
    labels = torch.full_like(ids, -100)
    labels[:, 4] = ids[:, 4]
    slopes = []
    for tail in (ids[:, 5:], some_ids(rows=1, seed=9)[:, 5:]):
        model.zero_grad()
        model(torch.cat((ids[:, :5], tail), dim=1), labels=labels).loss.backward()
        found = [p.grad for _, p in model.trainable_parameters() if p.grad is not None]
        slopes.append(torch.cat([slope.flatten() for slope in found]))
    assert torch.allclose(slopes[0], slopes[1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model: CalmForCausalLM, side: str) -> None:
    ids = some_ids(rows=1, tokens=10)
    pads = torch.zeros(1, 5, dtype=torch.long)
    before, after = (pads, ids) if side == "left" else (ids, pads)
    padded = torch.cat((before, after), dim=1)
    mask = torch.cat(
        (
            torch.full_like(before, int(side == "right")),
            torch.full_like(after, int(side == "left")),
        ),
        dim=1,
    )
    kept = said(model, padded, attention_mask=mask)[mask.bool()]
    assert close(kept, said(model, ids)[0])


def test_cached_steps_equal_the_full_pass(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=14)
    full = said(model, ids)
    cache = model.new_cache()
    steps = [said(model, part, past_key_values=cache) for part in ids.split([6, 1, 4, 1, 2], dim=1)]
    assert close(torch.cat(steps, dim=1), full)


def test_a_batch_equals_its_rows_alone(model: CalmForCausalLM) -> None:
    short, long = some_ids(rows=1, tokens=7), some_ids(rows=1, tokens=12, seed=5)
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.long), short), dim=1)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[0, :5] = 0
    both = said(model, torch.cat((padded, long)), attention_mask=mask)
    assert close(both[0, 5:], said(model, short)[0])
    assert close(both[1], said(model, long)[0])


def test_a_padded_row_takes_cached_steps_as_if_alone(model: CalmForCausalLM) -> None:
    short, long = some_ids(rows=1, tokens=7), some_ids(rows=1, tokens=12, seed=5)
    both = torch.cat((torch.cat((torch.zeros(1, 5, dtype=torch.long), short), dim=1), long))
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[0, :5] = 0
    cache = model.new_cache()
    steps = [said(model, both[:, :8], attention_mask=mask[:, :8], past_key_values=cache)]
    steps += [said(model, both[:, i : i + 2], past_key_values=cache) for i in (8, 10)]
    joined = torch.cat(steps, dim=1)
    assert close(joined[0, 5:], said(model, short)[0])
    assert close(joined[1], said(model, long)[0])


def test_a_newborn_is_the_anchor_bit_for_bit(pair: tuple[str, str]) -> None:
    anchor, augmenter = make_pair(*pair)
    newborn = CalmForCausalLM.compose(anchor, [augmenter])
    ids = some_ids()
    assert torch.equal(said(newborn, ids), said(anchor, ids))
    with_graph = newborn(ids).logits
    assert with_graph.requires_grad
    assert torch.equal(with_graph.detach(), said(anchor, ids))


def test_gate_zero_is_the_anchor_bit_for_bit(model: CalmForCausalLM) -> None:
    ids = some_ids()
    alone = said(model.anchor, ids)
    assert torch.equal(said(model, ids, gate=0.0), alone)
    assert torch.equal(said(model, ids, gate=torch.zeros(2)), alone)
    model.set_gate(0.0)
    assert torch.equal(said(model, ids), alone)
    model.set_gate(1.0)
    assert not close(said(model, ids), alone)


def test_each_request_has_its_own_gate(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=3)
    mixed = said(model, ids, gate=torch.tensor([0.0, 1.0, 0.5]))
    alone = said(model.anchor, ids)[0]
    # Experts take all rows' tokens at once: where others are routed moves the last bits of a row.
    has_experts = any("experts" in name for name, _ in model.anchor.named_parameters())
    assert close(mixed[0], alone) if has_experts else torch.equal(mixed[0], alone)
    assert close(mixed[1], said(model, ids)[1])
    assert close(mixed[2], said(model, ids, gate=0.5)[2])


def test_the_augmenters_newest_state_is_felt_in_the_next_word(model: CalmForCausalLM) -> None:
    """Only the augmenter is told of another newest token; the bridges alone must carry it."""
    model.set_parts(bridges=True, output=False)
    ids = some_ids()
    table = model.augmenters[0].get_input_embeddings()
    before = said(model, ids)
    with torch.no_grad():
        table.weight[ids[0, -1]] += torch.randn_like(table.weight[0])
    after = said(model, ids)
    assert not close(before[0, -1], after[0, -1])
    cache = model.new_cache()
    said(model, ids[:, :-1], past_key_values=cache)
    assert close(said(model, ids[:, -1:], past_key_values=cache)[:, -1], after[:, -1])


def test_trained_bridges_and_gates_are_felt(model: CalmForCausalLM) -> None:
    ids = some_ids()
    seen = []
    for bridges, output in ((True, True), (True, False), (False, True), (False, False)):
        model.set_parts(bridges=bridges, output=output)
        seen.append(said(model, ids))
    assert torch.equal(seen[3], said(model.anchor, ids))
    for index, one in enumerate(seen):
        assert not any(close(one, other) for other in seen[index + 1 :])


def test_training_moves_only_the_listed_weights(pair: tuple[str, str]) -> None:
    anchor, augmenter = make_pair(*pair)
    model = CalmForCausalLM.compose(anchor, [augmenter])
    parents = [tensors_digest(anchor), tensors_digest(augmenter)]
    listed = dict(model.trainable_parameters())
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(listed)
    before = {name: weight.detach().clone() for name, weight in listed.items()}
    # Decay would show on any parent that an optimiser got hold of.
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    ids = some_ids()
    model.train()
    for _ in range(4):
        model(ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert [tensors_digest(anchor), tensors_digest(augmenter)] == parents
    still = [name for name, weight in listed.items() if torch.equal(weight, before[name])]
    assert still == []
    assert all(p.grad is None for p in (*anchor.parameters(), *augmenter.parameters()))


def test_the_papers_form_keeps_the_laws() -> None:
    model = make_composition("llama", spec=BridgeSpec.paper(connections=[(1, 1), (3, 2)]))
    assert not model.output_gates
    ids = some_ids()
    changed = ids.clone()
    changed[:, 8:] = some_ids(seed=9)[:, 8:]
    assert close(said(model, ids)[:, :8], said(model, changed)[:, :8])
    assert torch.equal(said(model, ids, gate=0.0), said(model.anchor, ids))
    cache = model.new_cache()
    steps = [said(model, part, past_key_values=cache) for part in ids.split([5, 1, 6], dim=1)]
    assert close(torch.cat(steps, dim=1), said(model, ids))
