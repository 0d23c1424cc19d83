"""What is saved is what was trained; what is loaded must be what it was built on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from calm_engine import digests
from calm_engine.errors import InputError
from calm_engine.families import load_parent
from calm_engine.modeling import CalmForCausalLM
from calm_engine.output_path import GATE_HEARS
from calm_engine.specs import BridgeSpec
from tests.tiny import awaken, make_model, make_pair, make_tokenizer, save_folder, some_ids


@pytest.fixture
def parents(tmp_path: Path) -> tuple[Path, Path]:
    anchor, augmenter = make_pair("llama", "gpt2")
    return save_folder(anchor, tmp_path / "anchor"), save_folder(augmenter, tmp_path / "small")


@pytest.fixture
def model(parents: tuple[Path, Path]) -> CalmForCausalLM:
    spec = BridgeSpec(connections=((1, -1), (3, 2)))
    return awaken(CalmForCausalLM.compose(parents[0], [parents[1]], spec))


@pytest.fixture
def saved(model: CalmForCausalLM, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "composition")
    return tmp_path / "composition"


def load(saved: Path, parents: tuple[Path, Path]) -> CalmForCausalLM:
    return CalmForCausalLM.from_pretrained(saved, anchor=parents[0], augmenters=[parents[1]])


@torch.no_grad()
def said(model: CalmForCausalLM) -> torch.Tensor:
    logits: torch.Tensor = model(some_ids()).logits
    return logits


def test_save_and_load_is_identity(
    model: CalmForCausalLM, saved: Path, parents: tuple[Path, Path]
) -> None:
    again = load(saved, parents)
    assert torch.equal(said(again), said(model))
    assert again.config.joined == model.config.joined == (((1, -1), (3, 2)),)
    assert again.config.spec == model.config.spec
    ids = some_ids(tokens=4)
    how = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    assert torch.equal(again.generate(ids, **how), model.generate(ids, **how))


def test_only_what_was_trained_is_saved(model: CalmForCausalLM, saved: Path) -> None:
    names = set(load_file(saved / "model.safetensors"))
    scales = {f"bridges.{i}.scale" for i in range(len(model.bridges))}
    assert names == {name for name, _ in model.trainable_parameters()} | scales
    files = {path.name for path in saved.iterdir()}
    assert files == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }


def test_nothing_saved_names_a_folder_of_this_machine(saved: Path, tmp_path: Path) -> None:
    texts = [path.read_text() for path in saved.iterdir() if path.suffix in (".json", ".md")]
    assert len(texts) == 5
    assert not any(str(tmp_path) in text for text in texts)


def test_the_parents_files_are_untouched(parents: tuple[Path, Path], tmp_path: Path) -> None:
    before = [digests.folder_digest(folder) for folder in parents]
    model = CalmForCausalLM.compose(parents[0], [parents[1]])
    model.save_pretrained(tmp_path / "out")
    load(tmp_path / "out", parents)
    assert [digests.folder_digest(folder) for folder in parents] == before


def test_the_parents_are_recorded_by_the_digest_of_their_weights(
    model: CalmForCausalLM, parents: tuple[Path, Path], saved: Path
) -> None:
    wanted = {
        "anchor": digests.weights_digest(parents[0]),
        "augmenter_0": digests.weights_digest(parents[1]),
    }
    assert model.config.parents == wanted
    assert json.loads((saved / "config.json").read_text())["parents"] == wanted
    card = (saved / "README.md").read_text()
    assert all(digest in card for digest in wanted.values())


@pytest.mark.parametrize("role", ["anchor", "augmenter_0"])
def test_a_parent_that_changed_is_refused_by_name(
    saved: Path, parents: tuple[Path, Path], role: str
) -> None:
    path = parents[int(role != "anchor")] / "model.safetensors"
    weights = load_file(path)
    name = min(weights)
    weights[name] = weights[name] + 0.001
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"parent\.digest") as caught:
        load(saved, parents)
    assert caught.value.facts["role"] == role


def test_parents_in_the_wrong_places_are_refused(saved: Path, parents: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"parent\.digest"):
        load(saved, (parents[1], parents[0]))


def test_models_in_memory_are_known_by_their_tensors(tmp_path: Path) -> None:
    anchor, augmenter = make_pair("qwen3")
    model = awaken(CalmForCausalLM.compose(anchor, [augmenter]))
    model.save_pretrained(tmp_path / "out", tokenizer=make_tokenizer())
    again = CalmForCausalLM.from_pretrained(tmp_path / "out", anchor=anchor, augmenters=[augmenter])
    assert torch.equal(said(again), said(model))
    other = make_model("qwen3", width=32, layers=4, heads=2, seed=77)
    with pytest.raises(InputError, match=r"parent\.digest"):
        CalmForCausalLM.from_pretrained(tmp_path / "out", anchor=anchor, augmenters=[other])


def test_loaded_models_are_known_by_the_folder_they_came_from(
    saved: Path, parents: tuple[Path, Path], model: CalmForCausalLM
) -> None:
    """Several compositions on one anchor share it in memory."""
    anchor, augmenter = load_parent(parents[0]), load_parent(parents[1])
    again = CalmForCausalLM.from_pretrained(saved, anchor=anchor, augmenters=[augmenter])
    assert again.anchor is anchor
    assert torch.equal(said(again), said(model))
    with pytest.raises(InputError, match=r"parent\.digest"):
        CalmForCausalLM.from_pretrained(saved, anchor=make_pair("llama")[0], augmenters=[augmenter])


def test_parents_that_are_not_there_are_refused(saved: Path, parents: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"parent\.missing"):
        CalmForCausalLM.from_pretrained(saved)
    with pytest.raises(InputError, match=r"parent\.missing"):
        CalmForCausalLM.from_pretrained(saved, anchor=parents[0], augmenters=[])


def test_a_self_contained_folder_loads_alone(
    saved: Path, parents: tuple[Path, Path], model: CalmForCausalLM
) -> None:
    parents[0].rename(saved / "anchor")
    parents[1].rename(saved / "augmenter_0")
    assert torch.equal(said(CalmForCausalLM.from_pretrained(saved)), said(model))
    auto = AutoModelForCausalLM.from_pretrained(saved)
    assert torch.equal(said(auto), said(model))


def test_the_tokenizer_travels_with_the_composition(saved: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(saved)
    ids = tokenizer("café au lait")["input_ids"]
    assert ids == make_tokenizer()("café au lait")["input_ids"]
    assert tokenizer.decode(ids) == "café au lait"
    assert tokenizer.chat_template


def test_bridges_that_do_not_fit_the_config_are_refused(
    saved: Path, parents: tuple[Path, Path]
) -> None:
    weights = load_file(saved / "model.safetensors")
    del weights["bridges.0.out.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"composition\.weights.*bridges\.0\.out\.weight"):
        load(saved, parents)


def rewrite(saved: Path, **bridge: object) -> None:
    """The saved form of the bridges with these options; None: written before there was one."""
    config = json.loads((saved / "config.json").read_text())
    told = config["bridge"] | bridge
    config["bridge"] = {name: value for name, value in told.items() if value is not None}
    (saved / "config.json").write_text(json.dumps(config))


def test_bridges_saved_before_an_option_came_are_what_they_were(
    model: CalmForCausalLM, saved: Path, parents: tuple[Path, Path]
) -> None:
    rewrite(saved, gate_reads=None, dropout=None)
    assert torch.equal(said(load(saved, parents)), said(model))


def test_gates_saved_before_they_could_shut_stay_a_little_open(
    saved: Path, parents: tuple[Path, Path]
) -> None:
    rewrite(saved, shut_below=0.0)
    before = load(saved, parents)
    rewrite(saved, shut_below=None)
    assert torch.equal(said(load(saved, parents)), said(before))
    assert load(saved, parents).config.spec.shut_below == 0.0


def test_bridges_of_a_newer_release_are_refused_by_name(
    saved: Path, parents: tuple[Path, Path]
) -> None:
    rewrite(saved, hats=3)
    with pytest.raises(InputError, match=r"spec\.unknown.*hats"):
        load(saved, parents)


def test_a_folder_that_is_no_composition_is_refused(
    saved: Path, parents: tuple[Path, Path]
) -> None:
    with pytest.raises(InputError, match=r"composition\.config"):
        load(parents[0], parents)
    (saved / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"composition\.weights"):
        load(saved, parents)


def test_tokenizers_that_differ_are_kept_with_the_composition(
    parents: tuple[Path, Path], tmp_path: Path
) -> None:
    path = parents[1] / "tokenizer.json"
    told = json.loads(path.read_text())
    words = told["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    path.write_text(json.dumps(told))
    model = awaken(CalmForCausalLM.compose(parents[0], [parents[1]]))
    assert model.config.own_tokenizers == [0]
    model.save_pretrained(tmp_path / "out")
    kept = {folder.name for folder in (tmp_path / "out" / "tokenizers").iterdir()}
    assert kept == {"anchor", "augmenter_0"}
    texts = [it.read_text() for it in (tmp_path / "out").rglob("*.json")]
    assert not any(str(tmp_path) in text for text in texts)
    path.unlink()  # what was kept counts, not what lies beside the weights today
    again = load(tmp_path / "out", parents)
    ids = torch.tensor([make_tokenizer().encode("abba sat", add_special_tokens=False)])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)
        cache = again.new_cache()
        steps = [again(part, past_key_values=cache).logits for part in ids.split(1, dim=1)]
        assert torch.allclose(torch.cat(steps, dim=1), model(ids).logits, atol=1e-3)


def test_a_kept_tokenizer_that_is_gone_is_missed(
    parents: tuple[Path, Path], tmp_path: Path
) -> None:
    make_model("llama", vocabulary=300).save_pretrained(parents[1])
    CalmForCausalLM.compose(parents[0], [parents[1]]).save_pretrained(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "tokenizers" / "augmenter_0")
    with pytest.raises(InputError, match=r"model\.tokenizer"):
        load(tmp_path / "out", parents)


def test_a_config_with_an_output_path_between_two_tokenizers_is_refused(
    parents: tuple[Path, Path], tmp_path: Path
) -> None:
    make_model("llama", vocabulary=300).save_pretrained(parents[1])
    CalmForCausalLM.compose(parents[0], [parents[1]]).save_pretrained(tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    told = json.loads(path.read_text())
    told["bridge"]["output_path"] = True
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"composition\.config.*own_tokenizers"):
        load(tmp_path / "out", parents)


def test_loaded_models_bring_the_tokenizers_of_their_folders(parents: tuple[Path, Path]) -> None:
    make_model("llama", vocabulary=300).save_pretrained(parents[1])
    top, below = (load_parent(folder) for folder in parents)
    assert CalmForCausalLM.compose(top, [below]).config.own_tokenizers == [0]


def test_another_vocabulary_without_its_tokenizer_is_refused(parents: tuple[Path, Path]) -> None:
    make_model("llama", vocabulary=300).save_pretrained(parents[1])
    (parents[1] / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"compose\.vocabulary.*tokenizer\.json"):
        CalmForCausalLM.compose(parents[0], [parents[1]])


def _pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"x")


def _set_key(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return change


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _one_tensor_less(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _bad_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_pickle, r"anchor\.pickle"),
        (_set_key("auto_map", {"AutoModel": "evil.Model"}), r"model\.config"),
        (_set_key("text_config", {"auto_map": {}}), r"model\.config"),
        (_set_key("_attn_implementation", "someone/kernel"), r"model\.config"),
        (_set_key("_attn_implementation_internal", "someone/kernel"), r"model\.config"),
        (_set_key("custom_pipelines", {}), r"model\.config"),
        (_set_key("model_type", "mamba"), r"model\.family"),
        (_bad_json, r"model\.config"),
        (_no_weights, r"model\.folder"),
        (_one_tensor_less, r"model\.weights.*model\.norm\.weight"),
        (_cut_off, r"model\.weights"),
    ],
)
def test_folders_that_could_run_code_or_are_not_whole_are_refused(
    parents: tuple[Path, Path], spoil: Callable[[Path], None], code: str
) -> None:
    spoil(parents[0])
    with pytest.raises(InputError, match=code):
        CalmForCausalLM.compose(parents[0], [parents[1]])


def test_a_manifest_tells_what_changed(saved: Path) -> None:
    digest = digests.write_manifest(saved)
    assert digest == digests.folder_digest(saved)
    digests.verify(saved)
    (saved / "README.md").write_text("something else")
    (saved / "new.txt").write_text("new")
    with pytest.raises(InputError, match=r"artifact\.digest.*README\.md, new\.txt"):
        digests.verify(saved)
    assert digests.folder_digest(saved) != digest


def test_a_folder_without_a_manifest_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"artifact\.digest"):
        digests.verify(tmp_path)


def test_a_file_whose_gates_hear_no_doubts_says_what_it_said(
    model: CalmForCausalLM, saved: Path, parents: tuple[Path, Path]
) -> None:
    path = saved / "model.safetensors"
    held = load_file(path)
    earlier = {name: tensor for name, tensor in held.items() if not name.endswith(GATE_HEARS)}
    assert len(earlier) < len(held)
    save_file(earlier, path, metadata={"format": "pt"})
    again = load(saved, parents)
    for gate in model.output_gates:
        torch.nn.init.zeros_(gate.from_doubts.weight)
    assert torch.equal(said(again), said(model))
