"""Where the weights behind a row live, and whether they are still those that were stored.

Folders are content-addressed and never change: a row names its folder by digest alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from apps.registry.models import Anchor, Augmenter, Composition, Embedder
from calm_engine import digests
from calm_engine.errors import InputError, InternalError
from counterpoint.storage import blobs

Artifact = Anchor | Augmenter | Composition | Embedder
KINDS: dict[type[Artifact], str] = {
    Anchor: "anchor",
    Augmenter: "augmenter",
    Composition: "composition",
    Embedder: "embedder",
}


@dataclass(frozen=True)
class File:
    """One file of an artifact: its name, its size in bytes, its SHA-256 as the manifest says."""

    name: str
    size: int
    digest: str = ""


def path(row: Artifact) -> Path:
    """The folder that holds this row's weights, configuration and tokenizer."""
    return blobs().folder(KINDS[type(row)], row.digest)


def verify(row: Artifact) -> None:
    """Read every byte again. Raises InputError("artifact.digest") when one has changed."""
    _verify(path(row), row.digest)


def adopt(kind: str, folder: Path, digest: str) -> Path:
    """Take a finished folder in by renaming it, once its bytes proved to be those of `digest`.

    kind    "anchor", "augmenter", "composition", "control", "embedder" or "report"
    A second time, with the folder already in its place, does nothing: a worker may have died
    between the rename and the row. Raises InputError("artifact.digest").
    """
    if folder.exists():
        _verify(folder, digest)
        return blobs().adopt_folder(kind, folder, digest)
    return blobs().folder(kind, digest)


def files(row: Artifact) -> list[File]:
    """What the folder holds, for the page; empty when the folder is not on this machine."""
    if not blobs().exists(KINDS[type(row)], row.digest):
        return []
    root = path(row)
    said = _manifest(root)
    found = sorted(p for p in root.rglob("*") if p.is_file())
    names = [p.relative_to(root).as_posix() for p in found]
    return [
        File(name, place.stat().st_size, said.get(name, ""))
        for name, place in zip(names, found, strict=True)
    ]


def reads_at_once(row: Composition) -> int:
    """Tokens that question and answer may have together, as its configuration says; 0: not known.

    The same on every machine: whatever is known is remembered.
    """
    return _positions(row.digest) if blobs().exists("composition", row.digest) else 0


@lru_cache(maxsize=256)
def _positions(digest: str) -> int:
    try:
        config = blobs().folder("composition", digest) / "config.json"
        return int(json.loads(config.read_text(encoding="utf-8"))["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError, InternalError):
        return 0


def _manifest(root: Path) -> dict[str, str]:
    """Digest by file name, as written beside the files; `verify` is what reads every byte."""
    try:
        return dict(json.loads((root / digests.MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _verify(folder: Path, digest: str) -> None:
    if not folder.is_dir() or digests.folder_digest(folder) != digest:
        raise InputError("artifact.digest", path=folder.name)
