"""Texts as vectors of length 1: by an encoder, or by the last states of a decoder.

Knows no server and no passages. How a model's states become one vector stands in `embedder.json`
of its folder, else in what sentence-transformers left beside it, else it is their mean.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel

from calm_engine import digests
from calm_engine.checkpoints import whole
from calm_engine.errors import InputError
from calm_engine.families import check_can_run, check_finite, check_weights, read_tokenizer
from calm_engine.importing import belonging, licence_of
from calm_engine.specs import Outcome

TOLD = "embedder.json"
AT_ONCE = 32  # texts in one pass
LIMIT = 2048  # tokens of a text, however many the model could read
# Of sentence-transformers: which states of a text are its vector.
_POOLED = {"pooling_mode_cls_token": "first", "pooling_mode_lasttoken": "last"}
_COUNTED_FROM_PADDING = ("camembert", "roberta", "xlm-roberta")  # their positions


class Embedder:
    """A model whose last states say what a text is about.

    limit       tokens of a text, at most
    width       numbers of a vector
    vocabulary  token ids lie below it
    Raises InputError("embedder.folder") when the folder holds no model that can be loaded,
    "anchor.pickle", "model.config", "model.quantised", "model.tokenizer" and "model.weights".
    """

    def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
        root = Path(folder)
        loaded: Any = _loaded(root)
        self.model = loaded.to(torch.device(device)).eval()
        self.tokenizer: Any = read_tokenizer(root)
        told = _told(root)
        self.pooling = str(told.get("pooling") or "mean")
        self.limit = _limit(self.model.config, self.tokenizer, told)
        self.vocabulary = int(self.model.config.vocab_size)
        try:
            self.width = int(self.encode(["a"]).shape[1])  # some kinds read no text by themselves
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise _no_embedder(root) from error

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of length 1, (texts, width), on the CPU; a text is cut off behind `limit`."""
        return self.encode_ids([ids[: self.limit] for ids in read_ids(self.tokenizer, texts)])

    @torch.inference_mode()
    def encode_ids(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The same of token ids, each row at least one and at most `limit` of them."""
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]))  # of like length together
        made: list[Tensor] = [torch.empty(0)] * len(rows)
        for start in range(0, len(order), AT_ONCE):
            part = order[start : start + AT_ONCE]
            for at, vector in zip(part, self._pass([rows[at] for at in part]), strict=True):
                made[at] = vector
        return torch.stack(made)

    def _pass(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Padded on the right, where neither an encoder's mask nor a decoder's order sees it."""
        longest, padding = max(map(len, rows)), self.model.config.pad_token_id or 0
        ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])
        counts = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(longest) < counts[:, None]).long()
        held = {"input_ids": ids, "attention_mask": mask}
        there = {name: tensor.to(self.model.device) for name, tensor in held.items()}
        states = self.model(**there).last_hidden_state.float().cpu()
        if self.pooling == "first":
            pooled = states[:, 0]
        elif self.pooling == "last":
            pooled = states[torch.arange(len(rows)), counts - 1]
        else:
            pooled = (states * mask[..., None]).sum(1) / counts[:, None]
        return functional.normalize(pooled, dim=-1)


def read_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text; of an empty one those that every text has, or one of padding."""
    found: list[list[int]] = tokenizer(list(texts))["input_ids"]
    return [ids or [tokenizer.pad_token_id or 0] for ids in found]


def import_embedder(source: Path, output: Path) -> Outcome:
    """Check a folder of safetensors and copy what belongs to the model, bit by bit.

    Raises InputError "anchor.missing", "output.exists", and what `Embedder` raises.
    """
    if not source.is_dir():
        raise InputError("anchor.missing", path=str(source))
    if output.exists():
        raise InputError("output.exists", "something is in the output folder", path=output.name)
    embedder = Embedder(source)
    check_finite(embedder.model)
    with whole(output) as aside:
        for path in belonging(source):
            shutil.copyfile(path, aside / path.name)
        told = {"pooling": embedder.pooling, "limit": embedder.limit}
        (aside / TOLD).write_text(json.dumps(told) + "\n", encoding="utf-8")
    parameters = sum(weight.numel() for weight in embedder.model.parameters())
    facts = {
        "name": source.name,
        "licence": licence_of(source),
        "parameters": parameters,
        "width": embedder.width,
        "limit": embedder.limit,
        "pooling": embedder.pooling,
        "weights": digests.weights_digest(output),
    }
    return Outcome(
        kind="embedder",
        folder=str(output),
        digest=digests.folder_digest(output),
        metrics={"parameters": float(parameters)},
        facts=facts,
    )


def _loaded(root: Path) -> PreTrainedModel:
    try:
        check_can_run(check_weights(root))
        # transformers' types know the model alone; with the report comes a pair.
        loaded: Any = AutoModel.from_pretrained(
            str(root),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto" if torch.cuda.is_available() else torch.float32,
            output_loading_info=True,
        )
    except InputError as error:
        if error.code in ("anchor.pickle", "model.quantised"):
            raise
        raise _no_embedder(root) from error
    except Exception as error:  # a strange model fails anywhere in transformers
        raise _no_embedder(root) from error
    model: PreTrainedModel = loaded[0]
    missing = sorted(name for name in loaded[1]["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise InputError("model.weights", "tensors are missing", tensors=", ".join(missing[:5]))
    return model


def _no_embedder(root: Path) -> InputError:
    return InputError("embedder.folder", "the folder holds no embedding model", path=root.name)


def _told(root: Path) -> dict[str, Any]:
    """How the folder wants to be used, as far as it says so."""
    told: dict[str, Any] = {}
    for found in _objects(root, "1_Pooling/config.json"):
        told["pooling"] = next((ours for key, ours in _POOLED.items() if found.get(key)), "mean")
    for found in _objects(root, "sentence_bert_config.json"):
        told["limit"] = found.get("max_seq_length")
    for found in _objects(root, TOLD):
        told |= found
    return told


def _objects(root: Path, name: str) -> Iterator[dict[str, Any]]:
    """The JSON object of this file; none where there is no file, or another thing in it."""
    with suppress(OSError, ValueError):
        found = json.loads((root / name).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            yield found


def _limit(config: Any, tokenizer: Any, told: dict[str, Any]) -> int:
    positions = int(getattr(config, "max_position_embeddings", None) or LIMIT)
    if config.model_type in _COUNTED_FROM_PADDING:
        positions -= int(config.pad_token_id or 0) + 1
    own = told.get("limit")
    limits = [positions, int(min(tokenizer.model_max_length, LIMIT)), LIMIT]
    return min([*limits, own] if isinstance(own, int) and own > 0 else limits)
