"""Embedding models: an encoder and a decoder make vectors, alone and in company alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from calm_engine.cli import main
from calm_engine.embedding import Embedder, import_embedder
from calm_engine.errors import InputError
from tests.tiny import embedder_folder, make_tokenizer

TEXTS = ["a", "Where is the MX-4 made?", "x" * 40, "straße"]
KINDS = ["bert", "gpt2", "llama"]  # an encoder, and decoders that count places in two ways


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_has_the_same_vector_in_any_company(tmp_path: Path, kind: str) -> None:
    embedder = Embedder(embedder_folder(tmp_path / "model", kind))
    together = embedder.encode(TEXTS)
    assert together.shape == (len(TEXTS), embedder.width)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(TEXTS)))
    alone = torch.cat([embedder.encode([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert float((together[0] - together[1]).norm()) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_mean_of_what_transformers_says(tmp_path: Path, kind: str) -> None:
    folder = embedder_folder(tmp_path / "model", kind)
    model, tokenizer = (
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = tokenizer(TEXTS[1], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        mean = model(input_ids=ids).last_hidden_state[0].mean(0)
    told = Embedder(folder).encode([TEXTS[1]])[0]
    torch.testing.assert_close(told, mean / mean.norm(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("flag", "pooling", "place"),
    [("pooling_mode_cls_token", "first", 0), ("pooling_mode_lasttoken", "last", -1)],
)
def test_the_folder_says_which_states_count(
    tmp_path: Path, flag: str, pooling: str, place: int
) -> None:
    folder = embedder_folder(tmp_path / "model", "bert")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({flag: True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    outcome = import_embedder(folder, tmp_path / "taken")
    assert (outcome.facts["pooling"], outcome.facts["limit"]) == (pooling, 24)
    embedder = Embedder(tmp_path / "taken")
    ids = make_tokenizer()(TEXTS[1])["input_ids"]
    with torch.inference_mode():
        states = embedder.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    expected = states[place] / states[place].norm()
    torch.testing.assert_close(embedder.encode([TEXTS[1]])[0], expected, atol=1e-5, rtol=0)
    assert torch.equal(embedder.encode(["y" * 24]), embedder.encode(["y" * 60]))  # cut off


def test_an_import_copies_weights_and_words_and_nothing_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = embedder_folder(tmp_path / "model", "bert")
    (folder / "helper.py").write_text("raise SystemExit\n")
    taken = str(tmp_path / "taken")
    assert main(["import", str(folder), "--as", "embedder", "--output", taken, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["kind"] == "embedder"
    assert told["facts"]["width"] == 32
    names = {path.name for path in Path(taken).iterdir()}
    assert "helper.py" not in names
    assert {"model.safetensors", "tokenizer.json", "config.json", "embedder.json"} <= names
    again = Embedder(taken).encode(TEXTS)
    assert torch.equal(again, Embedder(folder).encode(TEXTS))


def broken(folder: Path, how: str) -> None:
    if how == "pickle":
        (folder / "pytorch_model.bin").write_bytes(b"")
    elif how == "code":
        told = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(told | {"auto_map": {"AutoModel": "x.Y"}}))
    elif how == "torn":
        (folder / "model.safetensors").write_bytes(b"torn")
    elif how == "no words":
        (folder / "tokenizer.json").unlink()
    elif how == "quantised":
        told = json.loads((folder / "config.json").read_text())
        config = {"quant_method": "gptq", "bits": 4}
        (folder / "config.json").write_text(json.dumps(told | {"quantization_config": config}))


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("pickle", "anchor.pickle"),
        ("code", "embedder.folder"),
        ("torn", "embedder.folder"),
        ("no words", "model.tokenizer"),
        ("quantised", "model.quantised"),
    ],
)
def test_what_cannot_be_trusted_or_read_is_refused(
    tmp_path: Path, how: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = embedder_folder(tmp_path / "model", "bert")
    broken(folder, how)
    with pytest.raises(InputError) as refused:
        import_embedder(folder, tmp_path / "taken")
    assert refused.value.code == code
    assert not (tmp_path / "taken").exists()
