"""What a folder of weights is, in one line: SHA-256 over its files or its tensors.

Knows no models and no formats, but for the names of weight files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from calm_engine.errors import InputError

MANIFEST = "manifest.json"

_CHUNK = 1 << 22  # bytes read at a time


def file_digest(path: Path) -> str:
    """SHA-256 of one file's bytes, in hex."""
    told = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            told.update(chunk)
    return told.hexdigest()


def weights_digest(folder: str | Path) -> str:
    """SHA-256 over the names and digests of the folder's safetensors files, sorted by name.

    Raises InputError("model.folder") when there are none.
    """
    root = Path(folder)
    files = sorted(root.glob("*.safetensors"))
    if not files:
        raise InputError("model.folder", "no safetensors file in the folder", folder=root.name)
    return _over((path.name, file_digest(path)) for path in files)


def folder_digest(folder: str | Path) -> str:
    """SHA-256 over the names and digests of all files but the manifest itself, sorted by name."""
    return _over(_listed(Path(folder)).items())


def write_manifest(folder: str | Path) -> str:
    """Write `manifest.json` with every file's digest; return the folder's digest."""
    root = Path(folder)
    files = _listed(root)
    digest = _over(files.items())
    manifest = {"digest": digest, "files": files}
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (root / MANIFEST).write_text(text, encoding="utf-8")
    return digest


def verify(folder: str | Path) -> None:
    """Compare every file with the manifest.

    Raises InputError("artifact.digest") naming the files that are missing, new or changed.
    """
    root = Path(folder)
    try:
        promised = dict(json.loads((root / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("artifact.digest", "the manifest cannot be read") from error
    found = _listed(root)
    names = sorted(promised.keys() | found.keys())
    wrong = [name for name in names if promised.get(name) != found.get(name)]
    if wrong:
        raise InputError(
            "artifact.digest", "files are missing, new or changed", files=", ".join(wrong)
        )


def _listed(root: Path) -> dict[str, str]:
    """Digest by path relative to the folder, in sorted order."""
    paths = sorted(p for p in root.rglob("*") if p.is_file() and p != root / MANIFEST)
    return {path.relative_to(root).as_posix(): file_digest(path) for path in paths}


def _over(named: Iterable[tuple[str, str]]) -> str:
    told = hashlib.sha256()
    for name, digest in named:
        told.update(f"{name}\0{digest}\n".encode())
    return told.hexdigest()
