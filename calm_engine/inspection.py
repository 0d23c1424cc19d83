"""What a model folder is and whether it is whole, read without loading its weights.

Knows configs, manifests and digests; loads torch only for a parent known by its tensors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calm_engine import digests
from calm_engine.errors import InputError


def facts_of(folder: Path) -> dict[str, Any]:
    """Describe a composition, an augmenter or an anchor: names and plain values.

    Raises InputError "anchor.missing" and "model.config".
    """
    if not folder.is_dir():
        raise InputError("anchor.missing", path=str(folder))
    config = _object(folder / "config.json")
    if config is None:
        raise InputError("model.config", folder=folder.name, keys="")
    is_composition = config.get("model_type") == "calm"
    facts: dict[str, Any] = {
        "folder": str(folder),
        "kind": "composition" if is_composition else "model",
        "family": _family(config),
        "weights": _size_of(folder),
        "digest": (_object(folder / digests.MANIFEST) or {}).get("digest", "no manifest"),
    }
    return facts | (_joined(config) if is_composition else _shape(config))


def verify_parents(folder: Path, anchor: str | None, augmenters: Sequence[str] | None) -> list[str]:
    """Compare the folder with its manifest, and the parents that are named with their digests.

    Returns what was found whole. Raises InputError "artifact.digest", "parent.digest" naming the
    one that differs, and "parent.missing" when the number of augmenters is another.
    """
    facts_of(folder)
    whole = ["files"]
    digests.verify(folder)
    promised: dict[str, str] = (_object(folder / "config.json") or {}).get("parents") or {}
    given = {"anchor": anchor} if anchor else {}
    given |= {f"augmenter_{i}": path for i, path in enumerate(augmenters or ())}
    for role, path in given.items():
        if role not in promised:
            raise InputError("parent.missing", role=role)
        if _digest(Path(path), promised[role]) != promised[role]:
            raise InputError("parent.digest", role=role)
        whole.append(role)
    return whole


def _digest(folder: Path, promised: str) -> str:
    if not promised.startswith("tensors:"):
        return digests.weights_digest(folder)
    from calm_engine.families import load_parent, tensors_digest  # noqa: PLC0415 loads torch

    return tensors_digest(load_parent(folder))


def _object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None when there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _family(config: dict[str, Any]) -> str:
    parts = [config, config.get("anchor_config") or {}, *(config.get("augmenter_configs") or [])]
    return " + ".join(str(part["model_type"]) for part in parts if "model_type" in part)


def _size_of(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.glob('*.safetensors')):,} bytes"


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    names = {
        "layers": ("num_hidden_layers", "n_layer"),
        "width": ("hidden_size", "n_embd"),
        "vocabulary": ("vocab_size",),
        "context": ("max_position_embeddings", "n_positions"),
    }
    found = {name: [config[k] for k in keys if k in config] for name, keys in names.items()}
    return {name: values[0] for name, values in found.items() if values}


def _joined(config: dict[str, Any]) -> dict[str, Any]:
    parents = config.get("parents") or {}
    lines = [
        f"augmenter_{i}: " + ", ".join(f"{a} to {b}" for a, b in pairs)
        for i, pairs in enumerate(config.get("connections") or [])
    ]
    own = [f"augmenter_{i} has one of its own" for i in config.get("own_tokenizers") or []]
    return {
        "context": config.get("max_position_embeddings"),
        "connections": lines,
        "tokenizers": own or ["one, shared by all"],
        "parents": [f"{role} {digest}" for role, digest in sorted(parents.items())],
    }
