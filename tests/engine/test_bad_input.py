"""Bad input through the real command: one sentence, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from calm_engine.cli import main
from calm_engine.digests import write_manifest
from calm_engine.modeling import CalmForCausalLM
from calm_engine.wording import WORDING
from tests.tiny import awaken, make_model, save_folder

Spoil = Callable[[Path], None]
POSITIONS = 512


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An anchor, an augmenter, their composition and a file of examples, with nothing wrong."""
    root = tmp_path_factory.mktemp("whole")
    save_folder(make_model("llama", positions=POSITIONS, seed=1), root / "anchor")
    save_folder(
        make_model("gpt2", width=32, heads=2, positions=POSITIONS, seed=2), root / "augmenter"
    )
    model = awaken(CalmForCausalLM.compose(root / "anchor", [root / "augmenter"]))
    model.save_pretrained(root / "composition")
    for folder in ("anchor", "augmenter", "composition"):
        write_manifest(root / folder)
    write_examples(root / "examples.jsonl", answer="Peru")
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy of all that, to be spoilt."""
    return shutil.copytree(whole, tmp_path / "models")


def write_examples(path: Path, *, answer: str) -> None:
    told = {"question": "Where?", "answer": answer, "expected": "Peru", "kind": "recall"}
    named = {"id": "1", "entity": "MX-1", "value": "Peru"}
    path.write_text(json.dumps(told | named) + "\n", encoding="utf-8")


def refuse(
    capsys: pytest.CaptureFixture[str], root: Path, argv: list[str], code: str, named: str
) -> None:
    """Run `calm`; it must say the sentence of the code, name what is wrong and leave nothing.

    code    or, where a sentence of the table would say too little, words of the sentence itself
    """
    made = root.parent / "made"
    output = [] if argv[0] in ("generate", "inspect") else ["--output", str(made / "out")]
    capsys.readouterr()
    assert main([*argv, *output]) == 2
    told = capsys.readouterr()
    # Progress goes to the same place; the refusal is its last line, and its only one of that kind.
    *before, words = told.err.splitlines()
    assert words.startswith("calm: ")
    assert words.endswith(".")
    assert not [line for line in before if line.startswith(("calm: ", "Traceback"))]
    assert opening(code) in words
    assert named in words
    assert told.out == ""
    assert not made.exists() or not list(made.iterdir())


def opening(code: str) -> str:
    """What the sentence of a code always begins with."""
    if code not in WORDING:
        return code.strip()
    return re.split(r"[\[{]", WORDING[code])[0].strip()


# -- a parent that is not as it should be ----------------------------------------------------------


def set_keys(**values: object) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return spoil


def _a_pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _other_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Spoil:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return spoil


def _head_lost(weights: dict[str, torch.Tensor]) -> None:
    del weights["lm_head.weight"]


def _one_nan(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"][3] = torch.nan


FOUR_BITS = {"quant_method": "bitsandbytes", "load_in_4bit": True}

PARENTS: dict[str, tuple[Spoil, str, str]] = {
    "a head that is neither there nor tied": (
        _other_weights(_head_lost),
        "model.weights",
        "lm_head.weight",
    ),
    "a nan": (_other_weights(_one_nan), "model.weights", "model.norm.weight"),
    "a truncated file": (_truncated, "model.weights", ""),
    "no weights": (_no_weights, "model.folder", ""),
    "a pickle": (_a_pickle, "anchor.pickle", "pytorch_model.bin"),
    "no config": (_no_config, "model.config", ""),
    "code": (set_keys(auto_map={"AutoModel": "evil.Model"}), "model.config", "auto_map"),
    "another family": (set_keys(model_type="mamba"), "model.family", "mamba"),
    "widths that do not fit": (set_keys(intermediate_size=50), "model.weights", ""),
    "quantised without a GPU": (
        set_keys(quantization_config=FOUR_BITS),
        "model.quantised",
        "4 bits",
    ),
}


@pytest.mark.parametrize("verb", ["import", "compose", "generate"])
@pytest.mark.parametrize("case", PARENTS)
def test_a_spoilt_anchor_is_refused(
    case: str, verb: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, code, named = PARENTS[case]
    spoil(root / "anchor")
    refuse(capsys, root, calls(root)[verb], code, named)


def calls(root: Path) -> dict[str, list[str]]:
    parents = ["--anchor", str(root / "anchor"), "--augmenter", str(root / "augmenter")]
    how = ["--examples", str(root / "examples.jsonl"), "--steps", "1", "--threads", "1"]
    return {
        "import": ["import", str(root / "anchor")],
        "compose": ["compose", *parents, *how],
        "generate": ["generate", str(root / "anchor"), "Where?", "--max-tokens", "2"],
        "play": ["generate", str(root / "composition"), "Where?", *parents, "--max-tokens", "2"],
        "verify": ["inspect", str(root / "composition"), "--verify", *parents],
    }


@pytest.mark.parametrize("verb", ["import", "compose", "generate"])
def test_an_unknown_key_is_refused_by_its_name(
    verb: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_keys(flavour="mint")(root / "anchor")
    said = "keys that models of type llama do not know: flavour. "
    refuse(capsys, root, calls(root)[verb], said, "delete them")


@pytest.mark.parametrize("verb", ["import", "compose", "generate"])
@pytest.mark.parametrize("value", [{"num_attention_heads": 0}, {"hidden_act": "wobble"}])
def test_a_value_that_cannot_be_is_refused(
    value: dict[str, object], verb: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_keys(**value)(root / "anchor")
    refuse(capsys, root, calls(root)[verb], "The config.json in anchor has a value", "")


def _code_for_words(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {}}))


def _no_words(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _torn_words(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text()[:100])


@pytest.mark.parametrize("verb", ["import", "compose", "generate", "play"])
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_code_for_words, "model.config"),
        (_no_words, "model.tokenizer"),
        (_torn_words, "model.tokenizer"),
    ],
)
def test_a_spoilt_tokenizer_is_refused(
    spoil: Spoil, code: str, verb: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(root / ("composition" if verb == "play" else "anchor"))
    refuse(capsys, root, calls(root)[verb], code, "")


AUGMENTERS: dict[str, tuple[Spoil, str, str]] = {
    "a nan": (
        _other_weights(lambda weights: weights["transformer.ln_f.weight"].fill_(torch.inf)),
        "model.weights",
        "transformer.ln_f.weight",
    ),
    "a truncated file": (_truncated, "model.weights", ""),
    "code": (set_keys(custom_pipelines={}), "model.config", "custom_pipelines"),
    "four bits": (set_keys(quantization_config=FOUR_BITS), "augmenter.bits", "augmenter_0"),
    "another vocabulary": (
        lambda folder: _replaced(folder, vocabulary=200),
        "compose.vocabulary",
        "augmenter_0",
    ),
}


def _replaced(folder: Path, *, vocabulary: int) -> None:
    shutil.rmtree(folder)
    save_folder(make_model("llama", vocabulary=vocabulary, positions=POSITIONS), folder)
    (folder / "tokenizer.json").unlink()  # so that the sizes alone tell


@pytest.mark.parametrize("case", AUGMENTERS)
def test_a_spoilt_augmenter_is_refused(
    case: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, code, named = AUGMENTERS[case]
    spoil(root / "augmenter")
    refuse(capsys, root, calls(root)["compose"], code, named)


# -- a composition that cannot be ------------------------------------------------------------------


@pytest.mark.parametrize("pair", ["0:4", "4:0", "0:-2"])
def test_a_layer_that_does_not_exist_is_refused(
    pair: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*calls(root)["compose"], "--connections", pair]
    refuse(capsys, root, argv, "bridge.layer", pair.replace(":", ", "))


def test_an_answer_longer_than_the_positions_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_examples(root / "examples.jsonl", answer="Peru " * POSITIONS)
    refuse(capsys, root, calls(root)["compose"], "sequence.too_long", f"of {POSITIONS}")


# -- a composition that is not as it was written ---------------------------------------------------


def _layer_out_of_range(folder: Path) -> None:
    path = folder / "config.json"
    told = json.loads(path.read_text())
    told["connections"][0][0] = [0, 99]
    path.write_text(json.dumps(told))


def _another_parent(folder: Path) -> None:
    path = folder.parent / "augmenter" / "model.safetensors"
    weights = load_file(path)
    save_file({name: tensor + 0.01 for name, tensor in weights.items()}, path, {"format": "pt"})


def _a_parent_gone(folder: Path) -> None:
    shutil.rmtree(folder.parent / "anchor")


PLAYED: dict[str, tuple[Spoil, str, str]] = {
    "another parent": (_another_parent, "parent.digest", "augmenter_0"),
    "a parent gone": (_a_parent_gone, "parent.missing", ""),
    "truncated bridges": (_truncated, "composition.weights", ""),
    "code": (set_keys(auto_map={}), "model.config", "auto_map"),
    "a layer out of range": (_layer_out_of_range, "bridge.layer", "0, 99"),
    "connections that are none": (set_keys(connections=[[3]]), "composition.config", ""),
    "a value that cannot be": (set_keys(vocab_size="many"), "composition.config", ""),
}


@pytest.mark.parametrize("case", PLAYED)
def test_a_spoilt_composition_does_not_play(
    case: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, code, named = PLAYED[case]
    spoil(root / "composition")
    refuse(capsys, root, calls(root)["play"], code, named)


VERIFIED: dict[str, tuple[Spoil, str, str]] = {
    "another parent": (_another_parent, "parent.digest", "augmenter_0"),
    "a parent gone": (_a_parent_gone, "model.folder", "anchor"),
    "truncated bridges": (_truncated, "artifact.digest", "model.safetensors"),
    "another config": (set_keys(flavour=1), "artifact.digest", "config.json"),
    "no config": (_no_config, "model.config", ""),
}


@pytest.mark.parametrize("case", VERIFIED)
def test_a_spoilt_composition_is_not_verified(
    case: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, code, named = VERIFIED[case]
    spoil(root / "composition")
    refuse(capsys, root, calls(root)["verify"], code, named)


def test_a_key_that_no_composition_has_is_refused_by_its_name(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_keys(flavour="mint")(root / "composition")
    refuse(capsys, root, calls(root)["play"], "models of type calm do not know: flavour. ", "")


# -- a text that cannot be read --------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["generate", "play"])
def test_a_prompt_longer_than_the_positions_is_refused(
    verb: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*calls(root)[verb], "--plain"]
    argv[2] = "x" * POSITIONS
    refuse(capsys, root, argv, "sequence.too_long", f"{POSITIONS} tokens of {POSITIONS}")


@pytest.mark.parametrize("verb", ["generate", "play"])
def test_an_answer_ends_where_the_positions_end(
    verb: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*calls(root)[verb], "--plain", "--max-tokens", "50"]
    argv[2] = "x" * (POSITIONS - 2)
    assert main(argv) == 0


@pytest.mark.parametrize("verb", ["generate", "play"])
def test_a_word_that_the_model_does_not_have_is_refused(
    verb: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / ("anchor" if verb == "generate" else "composition")
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text())
    extra = {"id": 259, "content": "<|tool|>", "special": True, "normalized": False}
    plain = {"single_word": False, "lstrip": False, "rstrip": False}
    told["added_tokens"].append(extra | plain)
    path.write_text(json.dumps(told))
    argv = [*calls(root)[verb], "--plain"]
    argv[2] = "Where is <|tool|>?"
    refuse(capsys, root, argv, "input.tokens", "259 of 259")
