"""Bring an open model in as an anchor: a GGUF file or a folder of safetensors, checked, made whole.

Knows formats and what is refused; knows no composition. Nothing is fetched and no code is run.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from calm_engine import digests
from calm_engine.card import TOKENIZER_FILES
from calm_engine.checkpoints import whole
from calm_engine.data import end_of_answer
from calm_engine.errors import InputError, InternalError
from calm_engine.families import (
    FAMILIES,
    PICKLES,
    check_finite,
    check_folder,
    decoder_of,
    load_parent,
    read_tokenizer,
    words_of,
)
from calm_engine.specs import Outcome

MAGIC = b"GGUF"
CARD = """---
license: {licence}
---

# {name}

Imported from `{file}` (SHA-256 `{digest}`). Licence: {licence}.
"""

_KEPT = ("config.json", "generation_config.json", "model.safetensors.index.json", "README.md")
_LICENCES = re.compile(r"(licen[cs]e|notice|copying)(\..*)?", re.IGNORECASE)
_SAMPLE = 24  # tokens on which the result is compared with what was read

# Tensors of these types come out as they were; all others, quantised ones too, as float32, which
# holds every value that the file can express.
_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Told:
    """What the source says of itself."""

    name: str
    licence: str
    file: str
    digest: str  # SHA-256 of the file, or over the weights of the folder


def import_anchor(source: Path, output: Path) -> Outcome:
    """Check a model, write it to `output` as an anchor's folder, and read it back to compare.

    source   a `.gguf` file, or a folder with safetensors, config.json and tokenizer.json
    Raises InputError: "anchor.missing", "anchor.type" for other files, "anchor.pickle",
    "anchor.damaged" for a GGUF file that is torn or no GGUF, "model.tokenizer" and
    "tokenizer.no_end", "output.exists", "disk.full", and what `families.load_parent` raises;
    InternalError("anchor.changed") when the result does not speak as the source does.
    """
    if not source.exists():
        raise InputError("anchor.missing", path=str(source))
    if output.exists():
        raise InputError("output.exists", "something is in the output folder", path=output.name)
    if source.is_dir():
        return _from_folder(source, output)
    if source.suffix.lower() in PICKLES:
        raise InputError("anchor.pickle", files=source.name)
    if source.suffix.lower() != ".gguf":
        raise InputError(
            "anchor.type",
            "An anchor is imported from a .gguf file or from a model's folder. Give one of these.",
            file=source.name,
        )
    return _from_gguf(source, output)


# -- a folder --------------------------------------------------------------------------------------


def _from_folder(source: Path, output: Path) -> Outcome:
    """Copy what belongs to the model, bit by bit; other files stay behind."""
    check_folder(source)
    model = load_parent(source)
    check_finite(model)
    tokenizer = read_tokenizer(source)
    told = Told(source.name, licence_of(source), source.name, digests.weights_digest(source))
    with whole(output) as aside:
        for path in belonging(source):
            shutil.copyfile(path, aside / path.name)
        _check_same(model, tokenizer, aside)
    return _outcome(output, model, tokenizer, told)


def belonging(source: Path) -> Iterator[Path]:
    """A model folder's files: weights, config, tokenizer, card and licences; no programs."""
    for path in sorted(source.iterdir()):
        is_named = path.name in (*_KEPT, *TOKENIZER_FILES) or _LICENCES.fullmatch(path.name)
        if path.is_file() and (is_named or path.suffix == ".safetensors"):
            yield path


def licence_of(folder: Path) -> str:
    """The licence that the model card names, or "unknown"."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    head = card.split("---", 2)[1] if card.startswith("---") and card.count("---") > 1 else ""
    found = re.search(r"^licen[cs]e:\s*['\"]?([\w.+-]+)", head, re.MULTILINE)
    return found.group(1) if found else "unknown"


# -- a GGUF file -----------------------------------------------------------------------------------


def _from_gguf(source: Path, output: Path) -> Outcome:
    """Read weights, tokenizer, name and licence out of the one file that holds them all."""
    reader = _opened(source)
    told = Told(
        name=_word(reader, "general.name") or source.stem,
        licence=_word(reader, "general.license") or "unknown",
        file=source.name,
        digest=digests.file_digest(source),
    )
    read, tokenizer = _read(source)
    model = _clean(read, _stored_as(reader))
    check_finite(model)
    del reader, read
    with whole(output) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        card = CARD.format(name=told.name, licence=told.licence, file=told.file, digest=told.digest)
        (aside / "README.md").write_text(card, encoding="utf-8")
        _check_same(model, tokenizer, aside)
    return _outcome(output, model, tokenizer, told)


def _opened(source: Path) -> GGUFReader:
    """The file's table of contents. Raises InputError "anchor.damaged" and "model.family"."""
    with source.open("rb") as file:
        is_gguf = file.read(len(MAGIC)) == MAGIC
    try:
        reader = GGUFReader(source) if is_gguf else None
    except Exception as error:  # a torn file fails anywhere in the reader
        raise _damaged(source) from error
    if reader is None or not reader.tensors:
        raise _damaged(source)
    family = _word(reader, "general.architecture")
    if family not in FAMILIES:
        raise InputError(
            "model.family", f"models of type {family} cannot be composed yet", kind=family
        )
    return reader


def _damaged(source: Path) -> InputError:
    return InputError(
        "anchor.damaged",
        "The file is damaged or is no GGUF file. Download it again; nothing was imported.",
        file=source.name,
    )


def _word(reader: GGUFReader, key: str) -> str:
    field = reader.get_field(key)
    return str(field.contents()).strip() if field is not None else ""


def _stored_as(reader: GGUFReader) -> torch.dtype:
    """The type of the matrices, where all have one that we can keep; norms are always float32."""
    names = {tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) > 1}
    return _TYPES.get(names.pop(), torch.float32) if len(names) == 1 else torch.float32


def _read(source: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """What transformers makes of the file, alone in a folder so that nothing beside it has a say.

    Raises InputError("anchor.damaged").
    """
    with tempfile.TemporaryDirectory(prefix="calm-import-") as folder:
        (Path(folder) / "model.gguf").symlink_to(source.resolve())
        named: dict[str, Any] = {"gguf_file": "model.gguf", "local_files_only": True}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **named)
            model = AutoModelForCausalLM.from_pretrained(
                folder, trust_remote_code=False, dtype=torch.float32, **named
            )
        except (OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
            raise _damaged(source) from error
    return model, tokenizer


def _clean(read: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same weights in a model without a trace of GGUF: transformers refuses to save others."""
    told = read.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        told.pop(key, None)
    maker: Any = AutoModelForCausalLM  # transformers leaves it untyped
    model: PreTrainedModel = maker.from_config(type(read.config)(**told), dtype=dtype)
    model.load_state_dict(read.state_dict())
    model.train(mode=False)
    return model


# -- both ------------------------------------------------------------------------------------------


@torch.inference_mode()
def _check_same(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Read the written folder back; it must say the same, bit for bit, and speak in our chats."""
    decoder = decoder_of(model)
    if len(tokenizer) > decoder.vocabulary:
        raise InputError("model.tokenizer", "the tokenizer has more words than the model")
    end_of_answer(tokenizer)
    again = load_parent(folder)
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(decoder.vocabulary, (1, min(_SAMPLE, decoder.limit)), generator=source)
    same_words = words_of(folder) == tokenizer.get_vocab()
    if not same_words or not torch.equal(model(ids).logits, again(ids).logits):
        raise InternalError("anchor.changed", "the imported model differs from its source")


def _outcome(
    output: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, told: Told
) -> Outcome:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    facts = {
        "name": told.name,
        "licence": told.licence,
        "parameters": parameters,
        "vocabulary": int(model.config.vocab_size),
        "source": f"{told.file} (sha256 {told.digest})",
        "source_file": told.file,
        "source_sha256": told.digest,
        "weights": digests.weights_digest(output),
        "stored_as": str(model.dtype).removeprefix("torch."),
        "has_chat_template": bool(tokenizer.chat_template),
    }
    return Outcome(
        kind="anchor",
        folder=str(output),
        digest=digests.folder_digest(output),
        metrics={"parameters": float(parameters)},
        facts=facts,
    )
