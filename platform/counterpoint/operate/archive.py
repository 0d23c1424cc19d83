"""A folder of backups: sealed files named by content, and a signed manifest for each backup.

    objects/ab/<name>     sealed, shared by all backups: what is there already is not copied again
    <time>-<id>/database  sealed, a dump of PostgreSQL in its custom form
    <time>-<id>/manifest.json   written last: a backup without one was never finished

Knows where things lie and whether they are whole; not what a database or a blob is.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from calm_engine.errors import InputError
from counterpoint.disk import flush_folder, settle, settle_all, writing_aside
from counterpoint.operate.sealing import BackupKey

FORM = 1  # of the manifest
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Kept:
    """One file: where it lay in the home folder, its SHA-256 and its length in bytes.

    head  of a sealed file, which is another one once it was sealed anew; else ""
    """

    path: str
    digest: str
    size: int
    head: str = ""


@dataclass(frozen=True)
class Manifest:
    """What one backup holds. `keys`: fingerprints of keys that it needs and does not hold."""

    release: str
    taken_at: str
    migrations: list[str]
    keys: dict[str, list[str]]
    database: Kept
    files: list[Kept] = field(default_factory=list)
    form: int = FORM

    @property
    def size(self) -> int:
        return self.database.size + sum(each.size for each in self.files)


class Archive:
    """One folder of backups, under one key."""

    def __init__(self, folder: Path, key: BackupKey) -> None:
        self.folder = folder
        self.key = key

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Held by one writer. Raises InputError("backup.busy")."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError("backup.busy", "Another backup is being written here.") from None
            yield

    def begin(self) -> Path:
        """A new backup's folder; it counts once `finish` has written its manifest."""
        # To the microsecond: of two within a second the newer one must be the last by name.
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        place = self.folder / f"{stamp}-{secrets.token_hex(4)}"
        place.mkdir(mode=0o700)
        return place

    def place_of(self, digest: str) -> Path:
        name = self.key.name(digest)
        return self.folder / "objects" / name[:2] / name

    def put(self, opened: Callable[[], BinaryIO], *, known: str = "", size: int) -> tuple[str, int]:
        """Store a file's bytes once. `known`: its SHA-256, when it was stored and never changes."""
        if known and self.place_of(known).exists():
            return known, size
        objects = self.folder / "objects"
        objects.mkdir(exist_ok=True, mode=0o700)
        # Not flushed one by one: an object counts once a manifest names it, and `finish` flushes.
        with opened() as plain, writing_aside(objects) as (sealed, aside):
            digest, found = self.key.seal(plain, sealed)
            place = self.place_of(digest)
            place.parent.mkdir(exist_ok=True, mode=0o700)
            if place.exists():
                settle(sealed)  # a power cut must leave an older backup the one or the other
            else:
                sealed.flush()
            aside.rename(place)
        return digest, found

    def prove(self, kept: Kept, *, place: Path | None = None, into: Path | None = None) -> None:
        """Open a stored file; write it to `into` if given. Raises InputError("backup.damaged")."""
        source = place or self.place_of(kept.digest)
        if not source.exists():
            raise InputError("backup.missing", f"The backup lacks {kept.path}.", path=kept.path)
        with source.open("rb") as sealed:
            if into is None:
                found = self.key.open(sealed)
            else:
                with into.open("xb") as plain:
                    found = self.key.open(sealed, plain)
        if found != (kept.digest, kept.size):
            raise InputError(
                "backup.damaged", f"{kept.path} is not what was backed up.", path=kept.path
            )

    def finish(self, place: Path, manifest: Manifest) -> None:
        """From here on it counts. Raises InputError: "backup.disk", "disk.full"."""
        text = json.dumps(asdict(manifest), indent=1, sort_keys=True)
        signed = json.dumps({"manifest": text, "signature": self.key.sign(text.encode())})
        try:
            settle_all(place)
        except OSError as error:
            raise InputError(
                "backup.disk",
                "The disk did not keep this backup. The older ones stand.",
            ) from error
        with writing_aside(place) as (target, aside):
            target.write(signed.encode())
            settle(target)
            aside.rename(place / MANIFEST)
        flush_folder(place)

    def read(self, place: Path) -> Manifest:
        """Raises InputError: "backup.unfinished", "backup.key_other", "backup.form"."""
        try:
            signed = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise InputError(
                "backup.unfinished", f"{place.name} was never finished, or is no backup."
            ) from None
        text = str(signed["manifest"])
        if not secrets.compare_digest(self.key.sign(text.encode()), str(signed["signature"])):
            raise InputError(
                "backup.key_other", f"{place.name} was written under another key, or changed."
            )
        told: dict[str, Any] = json.loads(text)
        if told["form"] != FORM:
            raise InputError("backup.form", f"{place.name} is of another release's form.")
        files = [Kept(**each) for each in told.pop("files")]
        return Manifest(**told | {"files": files, "database": Kept(**told["database"])})

    def finished(self) -> list[Path]:
        """Finished backups, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(each.parent for each in self.folder.glob(f"*/{MANIFEST}"))

    def newest(self) -> Path:
        """Raises InputError("backup.none")."""
        found = self.finished()
        if not found:
            raise InputError("backup.none", f"There is no finished backup in {self.folder}.")
        return found[-1]

    def prune(self, keep: int) -> None:
        """Remove all but the newest backups, unfinished ones, and files that none needs."""
        kept = self.finished()[-keep:]
        gone = [each for each in self.folder.glob("2*Z-*") if each not in kept]
        for place in gone:
            shutil.rmtree(place)
        needed = {
            self.place_of(file.digest).name for each in kept for file in self.read(each).files
        }
        for file in (self.folder / "objects").glob("*/*"):
            if file.name not in needed:
                file.unlink()
