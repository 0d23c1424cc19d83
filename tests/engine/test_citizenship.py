"""A composition among transformers' tools: config, pipeline, Trainer, `generate`, checkpointing."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    pipeline,
)

from calm_engine.digests import weights_digest
from calm_engine.errors import InputError
from calm_engine.families import tensors_digest
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec
from tests.tiny import (
    FAMILIES,
    awaken,
    make_composition,
    make_model,
    make_pair,
    make_tokenizer,
    said,
    some_ids,
)


@pytest.fixture
def model() -> CalmForCausalLM:
    return make_composition("llama", "gpt2")


def made(model: CalmForCausalLM, ids: Tensor, **how: object) -> Tensor:
    chosen = {"max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0, "do_sample": False}
    words: Tensor = model.generate(ids, **(chosen | how))
    return words


# -- config and loading ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_alone_makes_a_composition_of_new_models(family: str) -> None:
    told = CalmForCausalLM.compose(*_pair(family)).config
    made_up = AutoModelForCausalLM.from_config(told)
    assert isinstance(made_up, CalmForCausalLM)
    assert made_up.own_state().keys() == CalmForCausalLM(told).own_state().keys()
    ids = some_ids()
    assert torch.equal(said(made_up.eval(), ids), said(made_up.anchor, ids))
    assert made_up.config.parents is None
    assert told.parents is not None


def _pair(family: str) -> tuple[object, list[object]]:
    anchor, augmenter = make_pair(family)
    return anchor, [augmenter]


def test_a_config_that_makes_no_composition_is_refused() -> None:
    told = copy.deepcopy(CalmForCausalLM.compose(*_pair("llama")).config)
    for change, code in (
        ({"augmenter_configs": None}, "composition.config"),
        ({"connections": None}, "bridge.connections"),
        ({"connections": [[[0, 99]]]}, "bridge.layer"),
        ({"anchor_config": told.anchor_config | {"model_type": "mamba"}}, "model.family"),
    ):
        wrong = copy.deepcopy(told)
        wrong.update(change)
        with pytest.raises(InputError, match=code):
            AutoModelForCausalLM.from_config(wrong)


def test_a_self_contained_folder_is_saved_loaded_and_known_by_its_files(
    model: CalmForCausalLM, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path, tokenizer=make_tokenizer(), self_contained=True)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, device_map="auto", dtype="auto")
    ids = some_ids()
    assert torch.equal(said(again, ids), said(model, ids))
    assert again.config.parents == {
        role: weights_digest(tmp_path / role) for role in ("anchor", "augmenter_0")
    }


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_parents_are_loaded_in_the_type_that_is_asked_for(
    dtype: str | torch.dtype, model: CalmForCausalLM, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path, self_contained=True)
    half = CalmForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    assert half.dtype == torch.bfloat16
    assert half.bridges[0].out.weight.dtype == torch.float32


def test_another_attention_gives_the_same_words(model: CalmForCausalLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, self_contained=True)
    plain = CalmForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    assert plain.anchor.config._attn_implementation == "eager"
    assert plain.augmenters[0].config._attn_implementation == "eager"
    assert torch.allclose(said(plain, some_ids()), said(model, some_ids()), atol=1e-3)


@pytest.mark.parametrize(
    "option",
    [
        {"quantization_config": {"load_in_4bit": True}},
        {"device_map": {"anchor": "cpu", "augmenters": "cuda:0"}},
        {"device_map": "balanced"},
        {"dtype": "float99"},
        {"tp_plan": "auto"},
        {"state_dict": {"a": 1}},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_that_would_be_passed_over_are_refused_by_name(
    option: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=next(iter(option))) as refused:
        CalmForCausalLM.from_pretrained(tmp_path, **option)
    assert refused.value.code == "model.option"


def test_nothing_is_pushed_anywhere(model: CalmForCausalLM, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="push_to_hub"):
        model.save_pretrained(tmp_path / "out", push_to_hub=True)
    assert not (tmp_path / "out").exists()


# -- one call --------------------------------------------------------------------------------------


def test_hidden_states_are_the_anchors_with_the_bridges_joined_in(model: CalmForCausalLM) -> None:
    ids = some_ids()
    with torch.no_grad():
        shut = model(ids, output_hidden_states=True, gate=0.0).hidden_states
        alone = model.anchor(ids, output_hidden_states=True).hidden_states
        open_ = model(ids, output_hidden_states=True).hidden_states
        some = model(ids, output_hidden_states=[1, 4]).hidden_states
    assert len(shut) == len(alone) == len(open_) == model.config.num_hidden_layers + 1
    assert all(torch.equal(one, other) for one, other in zip(shut, alone, strict=True))
    first = min(joint.above for joint in model.streams.joints)
    changed = [not torch.equal(one, other) for one, other in zip(open_, alone, strict=True)]
    assert changed == [layer > first for layer in range(len(alone))]
    assert [one is not None for one in some] == [False, True, False, False, True]
    assert torch.equal(some[4], open_[5])


def test_a_tuple_holds_what_the_named_output_holds(model: CalmForCausalLM) -> None:
    ids = some_ids()
    with torch.no_grad():
        loss, logits, *_ = model(ids, labels=ids, return_dict=False)
        named = model(ids, labels=ids)
    assert torch.equal(loss, named.loss)
    assert torch.equal(logits, named.logits)


def test_labels_that_are_shifted_already_give_the_same_loss(model: CalmForCausalLM) -> None:
    ids = some_ids()
    shifted = torch.cat((ids[:, 1:], torch.full_like(ids[:, :1], -100)), dim=1)
    with torch.no_grad():
        assert torch.equal(model(ids, shift_labels=shifted).loss, model(ids, labels=ids).loss)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"inputs_embeds": torch.zeros(2, 12, 48)}, "input.embeds"),
        ({"output_attentions": True}, "output.attentions"),
    ],
)
def test_what_a_composition_cannot_do_is_refused_by_name(
    given: dict[str, object], code: str, model: CalmForCausalLM
) -> None:
    with pytest.raises(InputError, match=next(iter(given))) as refused:
        model(some_ids(), **given)
    assert refused.value.code == code


def test_the_parents_keep_their_vocabulary(model: CalmForCausalLM) -> None:
    for change in (
        lambda: model.resize_token_embeddings(300),
        lambda: model.set_input_embeddings(torch.nn.Embedding(300, 48)),
        lambda: model.set_output_embeddings(torch.nn.Linear(48, 300)),
    ):
        with pytest.raises(InputError, match=r"model\.resize"):
            change()


@pytest.mark.parametrize("token", [-1, 259])
def test_ids_that_no_word_has_are_refused(token: int, model: CalmForCausalLM) -> None:
    ids = some_ids()
    ids[1, 3] = token
    with pytest.raises(InputError, match=r"input\.tokens"):
        said(model, ids)
    with pytest.raises(InputError, match=r"input\.tokens"):
        made(model, ids)
    with pytest.raises(InputError, match=r"input\.tokens"):
        CalmForCausalLM.compose(model.anchor, list(model.augmenters), sample_ids=ids)


def test_a_model_without_a_head_is_refused() -> None:
    anchor, augmenter = make_pair("llama")
    with pytest.raises(InputError, match=r"model\.head"):
        CalmForCausalLM.compose(anchor.model, [augmenter])


# -- generate --------------------------------------------------------------------------------------


def test_looking_up_the_prompt_gives_the_greedy_words(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1, tokens=6).repeat(1, 4)
    plain = made(model, ids, max_new_tokens=20)
    assert torch.equal(made(model, ids, max_new_tokens=20, prompt_lookup_num_tokens=3), plain)


def test_an_assistant_gives_the_greedy_words(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1, tokens=6)
    helper = make_model("llama", width=32, layers=2, heads=2, seed=9)
    plain = made(model, ids, max_new_tokens=20)
    assert torch.equal(made(model, ids, max_new_tokens=20, assistant_model=helper), plain)


def test_beams_of_padded_prompts_are_those_they_get_alone(model: CalmForCausalLM) -> None:
    short, long = some_ids(rows=1, tokens=4), some_ids(rows=1, tokens=9, seed=6)
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.long), short), dim=1)
    both = torch.cat((padded, long))
    beams = made(model, both, attention_mask=(both != 0).long(), num_beams=3)
    assert torch.equal(beams[:1, 9:], made(model, short, num_beams=3)[:, 4:])
    assert torch.equal(beams[1:, 9:], made(model, long, num_beams=3)[:, 9:])


def test_sampling_never_leaves_the_likeliest_words(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=5)
    words = made(model, ids, do_sample=True, top_k=3, max_new_tokens=1, num_return_sequences=8)
    likeliest = said(model, ids)[:, -1].topk(3).indices.repeat_interleave(8, dim=0)
    assert (words[:, -1:] == likeliest).any(dim=1).all()


def test_a_conversation_goes_on_in_its_cache(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1, tokens=6)
    cache = model.new_cache()
    first = made(model, ids, max_new_tokens=4, past_key_values=cache)
    longer = torch.cat((first, some_ids(rows=1, tokens=3, seed=8)), dim=1)
    again = made(model, longer, max_new_tokens=4, past_key_values=cache)
    assert torch.equal(again, made(model, longer, max_new_tokens=4))


def test_a_long_prompt_may_be_read_in_pieces(model: CalmForCausalLM) -> None:
    ids = some_ids(tokens=20)
    assert torch.equal(made(model, ids, prefill_chunk_size=7), made(model, ids))


def test_words_come_from_nothing_but_the_beginning(model: CalmForCausalLM) -> None:
    begin = torch.full((1, 1), model.config.bos_token_id)
    how = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    assert torch.equal(model.generate(**how), model.generate(begin, **how))


def test_scores_and_states_come_with_the_words(model: CalmForCausalLM) -> None:
    ids = some_ids(rows=1, tokens=5)
    told = made(
        model,
        ids,
        max_new_tokens=3,
        return_dict_in_generate=True,
        output_logits=True,
        output_hidden_states=True,
    )
    full = said(model, told.sequences)
    for step, logits in enumerate(told.logits):
        assert torch.allclose(logits, full[:, 4 + step], atol=1e-3)
    assert len(told.hidden_states) == 3
    assert len(told.hidden_states[0]) == model.config.num_hidden_layers + 1


def test_text_comes_out_of_a_pipeline(model: CalmForCausalLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, tokenizer=make_tokenizer(), self_contained=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("Where is it?", return_tensors="pt")["input_ids"]
    wanted = tokenizer.decode(made(model, ids)[0, ids.shape[1] :], skip_special_tokens=True)
    speak = pipeline("text-generation", model=str(tmp_path))
    how = {"max_new_tokens": 8, "do_sample": False, "return_full_text": False}
    (told,) = speak("Where is it?", **how, eos_token_id=None)
    assert told["generated_text"] == wanted
    both = speak(["Where is it?", "And when was it made?"], **how, eos_token_id=None, batch_size=2)
    assert both[0][0]["generated_text"] == wanted


# -- training --------------------------------------------------------------------------------------


def settings(folder: Path, **how: object) -> TrainingArguments:
    told: dict[str, object] = {
        "output_dir": str(folder),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "save_steps": 2,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return TrainingArguments(**(told | how))


def rows() -> list[dict[str, Tensor]]:
    return [{"input_ids": row, "labels": row} for row in some_ids(rows=8)]


class _StopAt(TrainerCallback):
    """Ends a training as a person would, after a checkpoint."""

    def on_step_end(self, _: object, state: object, control: object, **__: object) -> None:
        control.should_training_stop = state.global_step == 2


def test_the_trainer_moves_and_saves_bridges_alone_and_goes_on_from_a_checkpoint(
    tmp_path: Path,
) -> None:
    anchor, augmenter = make_pair("llama")
    before = [tensors_digest(anchor), tensors_digest(augmenter)]

    def newborn() -> CalmForCausalLM:
        torch.manual_seed(5)
        return CalmForCausalLM.compose(anchor, [augmenter])

    never_stopped = newborn()
    Trainer(never_stopped, settings(tmp_path / "whole"), train_dataset=rows()).train()
    stopped = newborn()
    Trainer(
        stopped, settings(tmp_path / "half"), train_dataset=rows(), callbacks=[_StopAt()]
    ).train()
    assert [tensors_digest(anchor), tensors_digest(augmenter)] == before
    kept = tmp_path / "half" / "checkpoint-2"
    assert {path.name for path in kept.rglob("*.safetensors")} == {"model.safetensors"}
    resumed = newborn()
    trainer = Trainer(resumed, settings(tmp_path / "half"), train_dataset=rows())
    trainer.train(resume_from_checkpoint=str(kept))
    for name, weight in never_stopped.own_state().items():
        assert torch.allclose(weight, resumed.own_state()[name], atol=1e-6), name
    assert trainer.evaluate(eval_dataset=rows())["eval_loss"] > 0


def slopes(model: CalmForCausalLM, ids: Tensor, **how: object) -> dict[str, Tensor]:
    model.zero_grad()
    model(ids, labels=ids, **how).loss.backward()
    return {name: weight.grad.clone() for name, weight in model.trainable_parameters()}


def kept_for_the_slopes(model: CalmForCausalLM, ids: Tensor) -> int:
    """Numbers held by the graph of one pass."""
    held: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        held.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(ids, labels=ids)
    return sum(held)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_activations_computed_again_give_the_same_slopes_from_less_memory(family: str) -> None:
    model = make_composition(family, spec=BridgeSpec(connections=((0, -1), (2, 2)))).train()
    ids = some_ids()
    kept = kept_for_the_slopes(model, ids)
    plain = slopes(model, ids)
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    assert kept_for_the_slopes(model, ids) < kept / 2
    for name, slope in slopes(model, ids).items():
        assert torch.allclose(slope, plain[name], atol=1e-5), name
    model.gradient_checkpointing_disable()
    assert kept_for_the_slopes(model, ids) == kept


@pytest.mark.parametrize("prefix", [0, 5])
def test_activations_are_computed_again_behind_a_cached_prefix(prefix: int) -> None:
    """A cache that the first pass filled must not be filled twice."""
    model = make_composition("llama").train()
    ids = some_ids()

    def behind() -> dict[str, Tensor]:
        cache = model.new_cache()
        if prefix:
            said(model, ids[:, :prefix], past_key_values=cache)
        found = slopes(model, ids[:, prefix:], past_key_values=cache)
        assert cache.get_seq_length() == ids.shape[1]
        return found

    plain = behind()
    model.gradient_checkpointing_enable()
    for name, slope in behind().items():
        assert torch.allclose(slope, plain[name], atol=1e-5), name


def test_a_copy_is_a_model_of_its_own(model: CalmForCausalLM) -> None:
    other = copy.deepcopy(model)
    ids = some_ids()
    before = said(model, ids)
    assert torch.equal(said(other, ids), before)
    awaken(other, seed=11)
    assert torch.equal(said(model, ids), before)
    assert not torch.allclose(said(other, ids), before, atol=1e-2)
