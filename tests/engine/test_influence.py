"""Influence says what ordinary passes would say, with the parts on and off."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from calm_engine.errors import InputError
from calm_engine.influence import TokenInfluence, influence
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec
from tests.tiny import POSITIONS, awaken, make_composition, make_model, make_pair, some_ids

START = 5
ROUNDING = 1e-4  # nats


@pytest.fixture(params=[("llama", "llama"), ("gemma2", "gpt2"), ("gpt2", "qwen3")], ids="-".join)
def model(request: pytest.FixtureRequest) -> CalmForCausalLM:
    return make_composition(*request.param)


@pytest.fixture
def two() -> CalmForCausalLM:
    anchor, one = make_pair("llama")
    other = make_model("gpt2", width=24, layers=3, heads=2, seed=7)
    return awaken(CalmForCausalLM.compose(anchor, [one, other]))


@torch.no_grad()
def logprobs(model: torch.nn.Module, ids: Tensor, **how: object) -> list[float]:
    """Of the tokens from START on, by an ordinary pass."""
    spread = torch.log_softmax(model(ids, **how).logits[0, START - 1 : -1].float(), -1)
    return spread.gather(1, ids[0, START:, None])[:, 0].tolist()


def shares(told: list[TokenInfluence], index: int) -> list[float]:
    return [one.augmenters[index].share for one in told]


def added(told: list[TokenInfluence], index: int) -> list[float]:
    return [bridge.added for one in told for bridge in one.augmenters[index].bridges]


def test_it_is_the_difference_of_ordinary_passes(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1)
    told = influence(model, ids, START)
    assert [one.position for one in told] == list(range(START, ids.shape[1]))
    assert [one.token for one in told] == ids[0, START:].tolist()
    whole, alone = logprobs(model, ids), logprobs(model.anchor, ids)
    model.set_parts(bridges=False)
    unbridged = logprobs(model, ids)
    assert [one.logprob for one in told] == pytest.approx(whole, abs=ROUNDING)
    assert [one.anchor for one in told] == pytest.approx(alone, abs=ROUNDING)
    assert [one.unbridged for one in told] == pytest.approx(unbridged, abs=ROUNDING)
    gains = [a - b for a, b in zip(whole, alone, strict=True)]
    assert [one.gain for one in told] == pytest.approx(gains, abs=2 * ROUNDING)
    assert max(map(abs, gains)) > 0.1


def test_a_share_is_the_weight_in_the_mixture(two: CalmForCausalLM) -> None:
    """The mixture put together by hand from the parents' own words and the shares that are told."""
    two.set_parts(bridges=False)
    ids = some_ids(rows=1)
    told = influence(two, ids, START)
    parents = [logprobs(one, ids) for one in (two.anchor, *two.augmenters)]
    for at, one in enumerate(told):
        weights = [part.share for part in one.augmenters]
        spoken = [math.exp(said[at]) for said in parents]
        by_hand = sum(w * p for w, p in zip([1.0 - sum(weights), *weights], spoken, strict=True))
        assert one.logprob == pytest.approx(math.log(by_hand), abs=ROUNDING)
        assert all(0.0 < weight < 1.0 for weight in weights)


def test_what_a_bridge_added_is_measured_on_the_stream(model: CalmForCausalLM) -> None:
    """Seen from outside: a layer's output before, and the next layer's input after."""
    ids = some_ids(rows=1)
    joint = model.streams.joints[0]
    states: dict[str, Tensor] = {}
    layers = model.streams.top.layers
    hooks = [
        layers[joint.above].register_forward_hook(
            lambda _l, _i, out: states.update(before=out if isinstance(out, Tensor) else out[0])
        ),
        layers[joint.above + 1].register_forward_pre_hook(
            lambda _l, given: states.update(after=given[0])
        ),
    ]
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    before, after = states["before"][0, START - 1 : -1], states["after"][0, START - 1 : -1]
    wanted = ((after - before).norm(dim=-1) / before.norm(dim=-1)).tolist()
    told = influence(model, ids, START)
    bridges = [one.augmenters[0].bridges[0] for one in told]
    assert (bridges[0].below, bridges[0].above) == (joint.below, joint.above)
    assert [bridge.added for bridge in bridges] == pytest.approx(wanted, rel=1e-3)


def test_attention_is_one_altogether_and_looks_at_no_later_token(model: CalmForCausalLM) -> None:
    told = influence(model, some_ids(rows=1), START, places=None)
    for one in told:
        for bridge in one.augmenters[0].bridges:
            assert sum(share for _, share in bridge.attention) == pytest.approx(1.0, abs=1e-5)
            places = [place for place, _ in bridge.attention]
            assert sorted(places) == list(range(one.position))
    few = influence(model, some_ids(rows=1), START, places=2)
    assert (
        few[0].augmenters[0].bridges[0].attention
        == (told[0].augmenters[0].bridges[0].attention[:2])
    )


def test_attention_is_that_by_which_the_bridge_reads() -> None:
    """With values that say where they stand, the bridge's own output gives the shares away."""
    spec = BridgeSpec(connections=[(1, 2)], heads=1, kv_heads=1, head_dim=16, aligned=False)
    model = make_composition("llama", spec=spec)
    bridge = model.bridges[0]
    hidden, read = torch.randn(1, 7, 48), torch.randn(1, 7, 32)
    asking = torch.arange(7)
    told = bridge.attention(hidden, read, None, asking=asking)[0]
    with torch.no_grad():
        asked, kept = bridge.norm_anchor(hidden), bridge.norm_augmenter(read)
        values = bridge.key_value(kept)[0, :, 16:]
        attended = bridge._attend(asked, kept, None, None, None, None)[0]
    assert torch.allclose(told @ values, attended, atol=1e-5)


def test_at_birth_nothing_has_influence() -> None:
    anchor, augmenter = make_pair("llama")
    told = influence(CalmForCausalLM.compose(anchor, [augmenter]), some_ids(rows=1), START)
    assert [one.gain for one in told] == [0.0] * len(told)
    assert [one.unbridged for one in told] == [one.anchor for one in told]
    assert set(shares(told, 0)) == set(added(told, 0)) == {0.0}


def test_at_gate_zero_nothing_has_influence(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1)
    told = influence(model, ids, START, gate=0.0)
    assert [one.gain for one in told] == [0.0] * len(told)
    assert set(shares(told, 0)) == {0.0}
    assert added(told, 0) == []
    model.set_gate(0.0)
    assert influence(model, ids, START) == told


def test_the_gate_of_the_call_is_that_of_the_answer(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1)
    told = influence(model, ids, START, gate=0.5)
    assert [one.logprob for one in told] == pytest.approx(
        logprobs(model, ids, gate=0.5), abs=ROUNDING
    )
    assert influence(model, ids, START, gate=torch.tensor([0.5])) == told


def test_augmenters_are_told_apart(two: CalmForCausalLM) -> None:
    ids = some_ids(rows=1)
    told = influence(two, ids, START, gate=(1.0, 0.0))
    assert set(shares(told, 1)) == set(added(told, 1)) == {0.0}
    assert min(shares(told, 0)) > 0.0
    assert min(added(told, 0)) > 0.0
    other = influence(two, ids, START, gate=(0.0, 1.0))
    assert set(shares(other, 0)) == set(added(other, 0)) == {0.0}
    assert min(shares(other, 1)) > 0.0
    assert min(added(other, 1)) > 0.0


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model: CalmForCausalLM, side: str) -> None:
    ids, pads = some_ids(rows=1), torch.zeros(1, 4, dtype=torch.long)
    padded = torch.cat((pads, ids) if side == "left" else (ids, pads), dim=1)
    start = START + 4 if side == "left" else START
    told = influence(model, padded, start, attention_mask=(padded != 0).long())
    assert told == influence(model, ids, START)


def test_without_an_output_path_the_bridges_alone_are_told() -> None:
    spec = BridgeSpec.paper(connections=[(1, 1), (2, 3)])
    told = influence(make_composition("llama", spec=spec), some_ids(rows=1), START)
    assert all(one.unbridged == one.anchor for one in told)
    assert set(shares(told, 0)) == {0.0}
    assert min(added(told, 0)) > 0.0


def test_an_answer_that_filled_every_position_can_be_judged() -> None:
    model, ids = make_composition("llama"), some_ids(rows=1, tokens=POSITIONS + 1)
    assert len(influence(model, ids, START)) == POSITIONS + 1 - START
    with pytest.raises(InputError) as refusal:
        influence(model, some_ids(rows=1, tokens=POSITIONS + 2), START)
    assert refusal.value.code == "sequence.too_long"


def test_an_answer_without_words_has_no_influence() -> None:
    assert influence(make_composition("llama"), some_ids(rows=1), 12) == []


@pytest.mark.parametrize("start", [0, -1, 13])
def test_a_start_outside_the_text_is_refused(start: int) -> None:
    with pytest.raises(InputError) as refusal:
        influence(make_composition("llama"), some_ids(rows=1), start)
    assert refusal.value.code == "influence.start"


def test_several_texts_and_bare_models_are_refused() -> None:
    model = make_composition("llama")
    with pytest.raises(InputError) as refusal:
        influence(model, some_ids(rows=2), START)
    assert refusal.value.code == "influence.rows"
    with pytest.raises(InputError) as refusal:
        influence(model.anchor, some_ids(rows=1), START)
    assert refusal.value.code == "influence.model"
