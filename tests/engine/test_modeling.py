"""Composing, generating, the cache and what is refused. The laws have a file of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, Trainer, TrainingArguments

from calm_engine.cache import CalmCache
from calm_engine.errors import InputError
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec
from tests.tiny import (
    POSITIONS,
    awaken,
    make_composition,
    make_model,
    make_pair,
    said,
    some_ids,
)


@pytest.fixture
def model() -> CalmForCausalLM:
    return make_composition("llama", "gpt2")


def by_hand(model: torch.nn.Module, ids: Tensor, count: int) -> Tensor:
    """Greedy words without any cache."""
    for _ in range(count):
        ids = torch.cat((ids, said(model, ids)[:, -1:].argmax(-1)), dim=1)
    return ids


def made(model: CalmForCausalLM, ids: Tensor, count: int = 8, **how: object) -> Tensor:
    chosen = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0} | how
    words: Tensor = model.generate(ids, max_new_tokens=count, **chosen)
    return words


# -- generating ------------------------------------------------------------------------------------


def test_greedy_words_with_cache_equal_those_without(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=6)
    assert torch.equal(made(model, ids), by_hand(model, ids, 8))
    assert torch.equal(made(model, ids, use_cache=False), by_hand(model, ids, 8))


def test_padded_prompts_get_the_words_they_get_alone(model: CalmForCausalLM) -> None:
    short, long = some_ids(rows=1, tokens=4), some_ids(rows=1, tokens=9, seed=6)
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.long), short), dim=1)
    mask = (torch.cat((padded, long)) != 0).long()
    both = made(model, torch.cat((padded, long)), attention_mask=mask)
    assert torch.equal(both[:1, 9:], made(model, short)[:, 4:])
    assert torch.equal(both[1:, 9:], made(model, long)[:, 9:])


def test_gate_zero_generates_what_the_anchor_generates(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=6)
    alone = by_hand(model.anchor, ids, 8)
    assert torch.equal(made(model, ids, gate=0.0), alone)
    mixed = made(model, ids, gate=torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed[0], alone[0])
    assert torch.equal(mixed[1], made(model, ids)[1])


def test_beams_agree_with_and_without_cache(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=5)
    how: dict[str, object] = {"num_beams": 3}
    assert torch.equal(made(model, ids, **how), made(model, ids, use_cache=False, **how))


def test_each_requests_gate_reaches_all_its_beams(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=5)
    mixed = made(model, ids, num_beams=3, gate=torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed[:1], made(model, ids[:1], num_beams=3, gate=0.0))
    assert torch.equal(mixed[1:], made(model, ids[1:], num_beams=3))


def test_sampling_repeats_with_its_seed(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=5)
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        drawn.append(made(model, ids, do_sample=True, temperature=1.5, num_return_sequences=3))
    assert torch.equal(drawn[0], drawn[1])
    assert drawn[0].shape == (6, 13)


def test_another_kind_of_cache_is_refused(model: CalmForCausalLM) -> None:
    with pytest.raises(InputError, match=r"cache\.kind"):
        made(model, some_ids(), cache_implementation="offloaded")
    with pytest.raises(InputError, match=r"cache\.kind"):
        said(model, some_ids(), past_key_values=DynamicCache())


# -- the cache -------------------------------------------------------------------------------------


def started(model: CalmForCausalLM, ids: Tensor, gate: float | Tensor = 1.0) -> CalmCache:
    cache = model.new_cache()
    said(model, ids, past_key_values=cache, gate=gate)
    return cache


def test_a_cropped_cache_is_as_if_never_grown(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=10)
    cache = started(model, ids)
    cache.crop(-4)
    assert cache.get_seq_length() == 6
    assert torch.allclose(
        said(model, ids[:, 6:], past_key_values=cache), said(model, ids)[:, 6:], atol=1e-3
    )
    with pytest.raises(InputError, match=r"cache\.crop"):
        cache.crop(3)


def test_rows_of_different_lengths_join_and_leave_between_tokens(model: CalmForCausalLM) -> None:
    texts = [some_ids(rows=1, tokens=n, seed=n) for n in (9, 4, 6)]
    joined = CalmCache.join([started(model, text[:, :-1]) for text in texts])
    assert joined.rows == 3
    newest = torch.cat([text[:, -1:] for text in texts])
    step = said(model, newest, past_key_values=joined)
    for row, text in enumerate(texts):
        assert torch.allclose(step[row, -1], said(model, text)[0, -1], atol=1e-3)
    # The longest leaves; its columns of padding leave with it.
    rest = joined.select(torch.tensor([2, 1]))
    assert rest.get_seq_length() == 6
    joined.batch_select_indices(torch.tensor([2, 1]))
    assert joined.get_seq_length() == 6
    for cache in (rest, joined):
        more = said(model, newest[[0, 1]], past_key_values=cache)
        for row, text in enumerate((texts[2], texts[1])):
            whole = torch.cat((text, newest[[row]]), dim=1)
            assert torch.allclose(more[row, -1], said(model, whole)[0, -1], atol=1e-3)


def test_a_cache_joined_from_nothing_is_empty(model: CalmForCausalLM) -> None:
    empty = CalmCache.join([model.new_cache(), model.new_cache()])
    assert empty.rows == 0
    assert empty.get_seq_length() == 0


def test_a_reset_cache_starts_anew(model: CalmForCausalLM) -> None:
    ids = some_ids()
    cache = started(model, some_ids(seed=9))
    cache.reset()
    assert torch.allclose(said(model, ids, past_key_values=cache), said(model, ids), atol=1e-3)


def test_a_cache_begun_with_the_gate_shut_cannot_go_on_open(model: CalmForCausalLM) -> None:
    ids = some_ids()
    shut = started(model, ids, gate=0.0)
    with pytest.raises(InputError, match=r"cache\.parts"):
        said(model, ids[:, :1], past_key_values=shut)
    with pytest.raises(InputError, match=r"cache\.parts"):
        CalmCache.join([shut, started(model, ids)])
    # A tensor of gates runs every part, so such rows share a batch with open ones.
    rows = [started(model, ids[:1], gate=torch.zeros(1)), started(model, ids[1:])]
    step = said(
        model,
        ids[:, :1],
        past_key_values=CalmCache.join(rows),
        gate=torch.tensor([0.0, 1.0]),
    )
    whole = torch.cat((ids, ids[:, :1]), dim=1)
    assert torch.allclose(step[0, -1], said(model.anchor, whole)[0, -1], atol=1e-3)
    assert torch.allclose(step[1, -1], said(model, whole)[1, -1], atol=1e-3)


# -- composing -------------------------------------------------------------------------------------


def test_several_augmenters_each_count() -> None:
    anchor = make_model("llama", layers=5, seed=1)
    augmenters = [
        make_model("gpt2", width=32, heads=2, seed=2),
        make_model("qwen3", width=40, heads=4, layers=3, seed=3),
    ]
    spec = BridgeSpec(connections=(((1, 0), (3, 2)), ((0, -1), (2, 2))))
    model = CalmForCausalLM.compose(anchor, augmenters, spec)
    ids = some_ids()
    assert torch.equal(said(model, ids), said(anchor, ids))
    awaken(model)
    whole = said(model, ids)
    cache = model.new_cache()
    steps = [said(model, part, past_key_values=cache) for part in ids.split([7, 1, 4], dim=1)]
    assert torch.allclose(torch.cat(steps, dim=1), whole, atol=1e-3)
    for augmenter in augmenters:
        table = augmenter.get_input_embeddings().weight
        kept = table.detach().clone()
        with torch.no_grad():
            table.zero_()
        assert not torch.allclose(said(model, ids), whole, atol=1e-3)
        with torch.no_grad():
            table.copy_(kept)
    assert torch.equal(said(model, ids), whole)


def test_an_augmenter_composes_with_several_anchors() -> None:
    augmenter = make_model("gpt2", width=32, seed=2)
    anchors = [make_model(family, seed=1) for family in ("llama", "qwen2")]
    models = [awaken(CalmForCausalLM.compose(anchor, [augmenter])) for anchor in anchors]
    ids = some_ids()
    for model, anchor in zip(models, anchors, strict=True):
        assert torch.equal(said(model, ids, gate=0.0), said(anchor, ids))
    assert not torch.allclose(said(models[0], ids), said(models[1], ids), atol=1e-2)


def test_the_scale_is_the_streams_own() -> None:
    anchor, augmenter = make_pair("llama")
    spec = BridgeSpec(connections=((0, -1), (1, 0), (3, 4)))
    ids = some_ids(rows=4, tokens=20)
    model = CalmForCausalLM.compose(anchor, [augmenter], spec, sample_ids=ids)
    with torch.no_grad():
        streams = anchor(ids, output_hidden_states=True).hidden_states[:2]
    for bridge, stream in zip(model.bridges, streams, strict=False):
        wanted = stream.pow(2).mean(-1).sqrt().median()
        assert torch.allclose(bridge.scale, wanted, rtol=1e-5)
    plain = CalmForCausalLM.compose(anchor, [augmenter], BridgeSpec(scaled=False))
    assert [float(bridge.scale) for bridge in plain.bridges] == [1.0] * len(plain.bridges)


def test_parents_stay_in_evaluation_mode() -> None:
    """GPT-2 drops states while it trains: a frozen parent must not."""
    anchor, augmenter = make_pair("llama", "gpt2")
    model = awaken(CalmForCausalLM.compose(anchor, [augmenter], BridgeSpec(shut_below=0.0)))
    ids = some_ids()
    still = said(model, ids)
    assert torch.equal(said(model.train(), ids), still)


def test_a_sampled_graph_starts_at_the_first_connection() -> None:
    anchor, augmenter = make_pair("llama")
    model = CalmForCausalLM.compose(anchor, [augmenter], BridgeSpec(connections=((3, 3),)))
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
        model(some_ids())
    late = len(held)
    model = CalmForCausalLM.compose(anchor, [augmenter], BridgeSpec(connections=((3, 0),)))
    held.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
        model(some_ids())
    assert late < len(held) / 2


# -- logits and loss -------------------------------------------------------------------------------


def test_logits_come_only_where_they_are_asked_for(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=3)
    full = said(model, ids)
    assert torch.allclose(said(model, ids, logits_to_keep=1), full[:, -1:], atol=1e-4)
    places = torch.tensor([2, 5])
    assert torch.allclose(said(model, ids, logits_to_keep=places), full[:, places], atol=1e-4)
    chosen = torch.zeros(3, 12, dtype=torch.bool)
    chosen[0, 3] = chosen[2, 7] = chosen[2, 11] = True
    gates = torch.tensor([0.0, 1.0, 0.5])
    some = said(model, ids, logits_to_keep=chosen, gate=gates)
    assert torch.allclose(some, said(model, ids, gate=gates)[chosen], atol=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_next_tokens(model: CalmForCausalLM) -> None:
    ids = some_ids()
    labels = ids.clone()
    labels[:, :7] = -100
    with torch.no_grad():
        out = model(ids, labels=labels)
        halved = model(ids, labels=labels, num_items_in_batch=20)
    wanted = torch.nn.functional.cross_entropy(
        said(model, ids)[:, 6:-1].flatten(0, 1), ids[:, 7:].flatten()
    )
    assert torch.allclose(out.loss, wanted, atol=1e-4)
    assert out.logits.shape == (10, model.config.vocab_size)
    assert torch.allclose(halved.loss, out.loss / 2, atol=1e-4)


def test_the_output_path_learns_with_the_bridges_off() -> None:
    """Bridge dropout: the gate alone must find that the augmenter knows what is to be said."""
    anchor, augmenter = make_pair("llama")
    model = CalmForCausalLM.compose(anchor, [augmenter])
    model.set_parts(bridges=False, output=True)
    ids = by_hand(augmenter, some_ids(rows=4, tokens=4), 8)
    labels = ids.clone()
    labels[:, :4] = -100
    optimiser = torch.optim.Adam([weight for _, weight in model.trainable_parameters()], lr=3e-3)
    for _ in range(30):
        loss = model(ids, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        known = torch.nn.functional.cross_entropy(
            augmenter(ids).logits[:, 3:-1].flatten(0, 1), ids[:, 4:].flatten()
        )
        assert model(ids, labels=labels).loss < known + 0.05
    assert all(not bridge.out.weight.any() for bridge in model.bridges)


def test_transformers_own_trainer_trains_it(tmp_path: Path) -> None:
    anchor, augmenter = make_pair("llama")
    model = CalmForCausalLM.compose(anchor, [augmenter])
    ids = some_ids(rows=8)
    rows = [{"input_ids": row, "labels": row} for row in ids]
    settings = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        save_steps=3,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model=model, args=settings, train_dataset=rows).train()
    assert not torch.allclose(said(model, ids), said(anchor, ids), atol=1e-3)
    saved = {path.name for path in (tmp_path / "checkpoint-3").glob("*.safetensors")}
    assert saved == {"model.safetensors"}
    again = CalmForCausalLM.from_pretrained(
        tmp_path / "checkpoint-3", anchor=anchor, augmenters=[augmenter]
    )
    assert torch.equal(said(again, ids), said(model.eval(), ids))


# -- what is refused -------------------------------------------------------------------------------


def test_vocabularies_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match=r"compose\.vocabulary"):
        CalmForCausalLM.compose(make_model("llama"), [make_model("llama", vocabulary=200)])


def test_a_composition_without_augmenters_is_refused() -> None:
    with pytest.raises(InputError, match=r"compose\.augmenters"):
        CalmForCausalLM.compose(make_model("llama"), [])


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match=r"bridge\.layer"):
        CalmForCausalLM.compose(*_apart(BridgeSpec(connections=((0, 5),))))


def _apart(spec: BridgeSpec) -> tuple[object, list[object], BridgeSpec]:
    anchor, augmenter = make_pair("llama")
    return anchor, [augmenter], spec


def test_a_text_longer_than_the_positions_is_refused(model: CalmForCausalLM) -> None:
    with pytest.raises(InputError, match=r"sequence\.too_long"):
        said(model, some_ids(rows=1, tokens=POSITIONS + 1))
    cache = started(model, some_ids(rows=1, tokens=POSITIONS))
    with pytest.raises(InputError, match=r"sequence\.too_long"):
        said(model, some_ids(rows=1, tokens=1), past_key_values=cache)
    assert model.streams.limit == POSITIONS


def test_the_shorter_parent_sets_the_limit() -> None:
    model = CalmForCausalLM.compose(make_model("llama"), [make_model("llama", positions=10)])
    assert model.streams.limit == 10
    with pytest.raises(InputError, match=r"sequence\.too_long"):
        said(model, some_ids(tokens=11))


def test_masks_gates_and_positions_that_do_not_fit_are_refused(model: CalmForCausalLM) -> None:
    ids = some_ids()
    with pytest.raises(InputError, match=r"input\.mask"):
        said(model, ids, attention_mask=torch.ones(2, 5))
    with pytest.raises(InputError, match=r"input\.gate"):
        said(model, ids, gate=torch.ones(3))
    with pytest.raises(InputError, match=r"input\.positions"):
        said(model, ids, position_ids=torch.tensor([[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]] * 2))
    with pytest.raises(InputError, match=r"input\.empty"):
        said(model, ids[:, :0])


def test_positions_that_jump_under_a_full_mask_are_one_text(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1)
    jumping = torch.tensor([[0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]])
    how = {"position_ids": jumping, "attention_mask": torch.ones_like(ids)}
    changed = torch.cat((some_ids(rows=1, seed=9)[:, :6], ids[:, 6:]), dim=1)
    for gate in (0.0, 1.0):
        one, other = said(model, ids, gate=gate, **how), said(model, changed, gate=gate, **how)
        assert not torch.allclose(one[:, -1], other[:, -1], atol=1e-2)


def test_a_composition_goes_into_bfloat16_as_a_whole() -> None:
    model = make_composition("llama")
    ids = torch.arange(10, 22)[None]
    with torch.no_grad():
        whole = model(ids).logits.log_softmax(-1)
        short = model.to(torch.bfloat16)(ids).logits
    assert short.dtype == torch.bfloat16
    torch.testing.assert_close(short.float().log_softmax(-1), whole, atol=0.5, rtol=0.1)
