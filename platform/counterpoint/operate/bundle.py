"""`counterpoint bundle` and `install`: a release, or one model, as one signed file.

A tar that begins with a manifest (path, SHA-256 and length of every file) and its signature
(Ed25519, RFC 8032); the files follow in the manifest's order. Nothing is unpacked before the
signature is right, and nothing counts before every digest is. Knows no registry and no cluster.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from calm_engine import digests
from calm_engine.errors import InputError
from counterpoint.release import version

ROOT = Path(__file__).resolve().parents[3]
# Of the release itself; images, wheels and models are folders that the site names.
RELEASE = ("deploy", "docs", "requirements", "pyproject.toml", "CHANGELOG.md", "README.md")
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
LINEAGE, LINEAGE_FORM = "lineage.json", 1  # of a model version
MANIFEST_LIMIT = 64 << 20  # bytes
PIECE = 1 << 20


@dataclass(frozen=True)
class Part:
    """One file of a bundle: its path inside, its SHA-256, its length in bytes."""

    path: str
    digest: str
    size: int


def make_key(folder: Path) -> None:
    """A new pair: `bundle.key` stays with whoever signs, `bundle.pub` goes to every site."""
    key = Ed25519PrivateKey.generate()
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "bundle.key"
    if secret.exists():
        raise InputError("bundle.key_exists", f"{secret} is there already, and is not replaced.")
    secret.touch(mode=0o600)
    secret.write_bytes(base64.b64encode(key.private_bytes_raw()) + b"\n")
    public = base64.b64encode(key.public_key().public_bytes_raw())
    (folder / "bundle.pub").write_bytes(public + b"\n")


def bundle(to: Path, key_file: Path, folders: dict[str, Path]) -> list[Part]:
    """Write the release and these folders as one signed file; what is in it.

    folders   by the name that each has inside, such as {"images": ..., "wheels": ...}
    Raises InputError: "bundle.key", "bundle.folder", "bundle.exists".
    """
    refuse_early(to, key_file)
    for name, folder in folders.items():
        if not folder.is_dir() or not any(folder.rglob("*")):
            raise InputError("bundle.folder", f"{name}={folder} is no folder with files.")
    return pack(to, key_file, dict(sources(folders)))


def refuse_early(to: Path, key_file: Path) -> None:
    """Raises InputError: "bundle.key", "bundle.exists"; before anything is gathered."""
    raw_key(key_file)
    if to.exists():
        raise InputError("bundle.exists", f"{to} is there already. Name another file.")


def pack(to: Path, key_file: Path, files: dict[str, Path]) -> list[Part]:
    """Write these files, by their paths inside, as one signed file. Raises as `refuse_early`."""
    refuse_early(to, key_file)
    key = Ed25519PrivateKey.from_private_bytes(raw_key(key_file))
    found = dict(sorted(files.items()))
    parts = [Part(path, *digest_of(source)) for path, source in found.items()]
    told = {"release": version(), "parts": [asdict(each) for each in parts]}
    manifest = json.dumps(told, indent=1).encode()
    aside = to.with_name(f".{to.name}.{secrets.token_hex(4)}")
    try:
        with tarfile.open(aside, "x") as archive:
            add(archive, MANIFEST, io.BytesIO(manifest), len(manifest))
            signature = key.sign(manifest)
            add(archive, SIGNATURE, io.BytesIO(signature), len(signature))
            for part in parts:
                with found[part.path].open("rb") as file:
                    add(archive, part.path, file, part.size)
        aside.rename(to)
    finally:
        aside.unlink(missing_ok=True)
    return parts


def sources(folders: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """Every file by its path inside: the release's own, and those of the folders."""
    for name in RELEASE:
        place = ROOT / name
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file() and "__pycache__" not in file.parts:
                yield f"release/{file.relative_to(ROOT).as_posix()}", file
    for name, folder in folders.items():
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                yield f"{name}/{file.relative_to(folder).as_posix()}", file


def install(source: Path, trusted: Path, to: Path) -> list[Part]:
    """Unpack a bundle into a folder of its own, once signature and every digest are right.

    Raises InputError: "bundle.key", "bundle.exists", "bundle.signature", "bundle.damaged",
    "bundle.lineage"; nothing is left then.
    """
    key = Ed25519PublicKey.from_public_bytes(raw_key(trusted))
    if to.exists():
        raise InputError("bundle.exists", f"{to} is there already. Name another folder.")
    to.parent.mkdir(parents=True, exist_ok=True)
    aside = to.with_name(f".{to.name}.{secrets.token_hex(4)}")
    try:
        with tarfile.open(source, "r:") as archive:
            parts = manifest_of(archive, key)
            for part in parts:
                unpack(archive, part, aside)
            if archive.next() is not None:
                raise damaged("it holds more than its list")
        prove_lineage(aside / "model")
        aside.rename(to)
    except (tarfile.TarError, OSError) as error:
        raise damaged(type(error).__name__) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return parts


def prove_lineage(model: Path) -> None:
    """That a model's folders are those of its lineage. Raises InputError("bundle.lineage")."""
    if not model.is_dir():
        return
    try:
        told = json.loads((model / LINEAGE).read_text(encoding="utf-8"))
        if told["form"] != LINEAGE_FORM:
            raise not_its_lineage("it is of another release's form")
        if told.pop("lineage") != lineage_digest(told):
            raise not_its_lineage("the list is not what its digest says")
        wanted = dict(told["parts"])
        if (model / "anchor").is_dir():
            wanted["anchor"] = told["anchor"]["digest"]
        there = {each.name for each in model.iterdir() if each.is_dir()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise not_its_lineage("it has no list that can be read") from None
    if there != set(wanted):
        raise not_its_lineage("its folders are not those of the list")
    for name, digest in wanted.items():
        if digests.folder_digest(model / name) != digest:
            raise not_its_lineage(f"{name} is another one")


def lineage_digest(told: dict[str, Any]) -> str:
    """SHA-256 over what is told of the ancestors, in one spelling of JSON."""
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def not_its_lineage(why: str) -> InputError:
    return InputError(
        "bundle.lineage", f"The model is not what its lineage says: {why}. Nothing was installed."
    )


def manifest_of(archive: tarfile.TarFile, key: Ed25519PublicKey) -> list[Part]:
    """The list, once its signature is right. Raises InputError("bundle.signature")."""
    manifest = whole(archive, MANIFEST)
    try:
        key.verify(whole(archive, SIGNATURE), manifest)
    except InvalidSignature:
        raise InputError(
            "bundle.signature",
            "The bundle is not signed by the key that you trust. Nothing was unpacked.",
        ) from None
    return [Part(**each) for each in json.loads(manifest)["parts"]]


def whole(archive: tarfile.TarFile, name: str) -> bytes:
    entry = archive.next()
    if entry is None or entry.name != name or not entry.isreg() or entry.size > MANIFEST_LIMIT:
        raise damaged(f"{name} is not where it should be")
    file = archive.extractfile(entry)
    assert file is not None  # a regular file has content
    return file.read()


def unpack(archive: tarfile.TarFile, part: Part, folder: Path) -> None:
    """The next file, which must be this one. Raises InputError("bundle.damaged")."""
    entry = archive.next()
    if entry is None or entry.name != part.path or not entry.isreg() or entry.size != part.size:
        raise damaged(f"{part.path} is not where it should be")
    inside = PurePosixPath(part.path)
    if inside.is_absolute() or ".." in inside.parts:
        raise damaged(f"{part.path} leads out of its folder")
    target = folder / inside
    target.parent.mkdir(parents=True, exist_ok=True)
    told = hashlib.sha256()
    file = archive.extractfile(entry)
    assert file is not None  # a regular file has content
    with target.open("xb") as plain:
        while piece := file.read(PIECE):
            told.update(piece)
            plain.write(piece)
    if told.hexdigest() != part.digest:
        raise damaged(f"{part.path} is not what was signed")


def add(archive: tarfile.TarFile, name: str, file: BinaryIO, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    archive.addfile(entry, file)


def digest_of(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def raw_key(path: Path) -> bytes:
    """32 bytes in base64. Raises InputError("bundle.key")."""
    try:
        raw = base64.b64decode(path.read_bytes().strip(), validate=True)
    except (OSError, binascii.Error):
        raw = b""
    if len(raw) != 32:
        raise InputError(
            "bundle.key", f"{path} holds no key of a bundle: `counterpoint bundle-key`."
        )
    return raw


def damaged(why: str) -> InputError:
    return InputError("bundle.damaged", f"The bundle is damaged: {why}. Nothing was installed.")
