"""Whether two models read the same tokens: by their tokenizers' files, without loading a model."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from apps.registry import artifacts
from apps.registry.models import Anchor
from calm_engine.errors import EngineError


def share_words(one: Anchor, other: Anchor) -> bool:
    """Whether each token has the same number in both; no, where a file is not on this machine."""
    if one.pk == other.pk:
        return words_of(one) is not None
    known = words_of(one)
    return known is not None and known == words_of(other)


def words_of(anchor: Anchor) -> str | None:
    """A digest of its tokens and their numbers; None where they cannot be read."""
    try:
        return _digest(artifacts.path(anchor))
    except (EngineError, OSError, ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=64)  # folders are named by their digest and never change
def _digest(folder: Path) -> str:
    told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    words: dict[str, Any] = _numbered(told["model"]["vocab"])
    words |= {each["content"]: each["id"] for each in told.get("added_tokens") or []}
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _numbered(words: Any) -> dict[str, Any]:
    """Byte pairs are a table; a unigram model lists its tokens in their order."""
    if isinstance(words, dict):
        return dict(words)
    return {word: number for number, (word, _score) in enumerate(words)}
