"""Where stored files are backed up from and restored to: the home folder, or the site's bucket.

Both call a file the same, `blobs/{tenant}/{kind}/{sha256}`, so a backup of one is restored into the
other. Knows neither archive nor database.
"""

from __future__ import annotations

import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from calm_engine.errors import InputError, InternalError
from counterpoint import sealedfiles
from counterpoint.bucket import UNFINISHED_MARK, Bucket, bucket
from counterpoint.bucketblobs import WHOLE, BucketBlobs
from counterpoint.checks import UNFINISHED

TOP = "blobs/"
FOLDER_PARTS = 3  # tenant, kind, digest: what has more is a file of an adopted folder


@dataclass(frozen=True)
class Lying:
    """One stored file: its name, its bytes, and `head`, which is another once it was rewritten."""

    name: str
    size: int
    head: str
    open: Callable[[], BinaryIO]


class Store(Protocol):
    """Where stored files lie."""

    def files(self) -> Iterator[Lying]:
        """Every file that is whole."""

    def require_empty(self) -> None:
        """Raises InputError("restore.not_empty"). What a broken-off restore left is removed."""

    def begin(self, backup: str) -> None:
        """Mark it: until `finish`, nothing serves from it."""

    def receiving(self, name: str) -> AbstractContextManager[Path]:
        """A path to write a file to; it is in its place afterwards."""

    def finish(self) -> None:
        """Everything is there."""


class HomeStore:
    """`{home}/blobs`."""

    def __init__(self, home: Path) -> None:
        self.home, self.mark = home, home / UNFINISHED

    def files(self) -> Iterator[Lying]:
        for path in sorted((self.home / "blobs").rglob("*")):
            name = path.relative_to(self.home)
            # What is still being written begins with a dot.
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                head, size = sealedfiles.head_of(path), path.stat().st_size
                yield Lying(name.as_posix(), size, head, partial(opened, path))

    def require_empty(self) -> None:
        blobs = self.home / "blobs"
        if self.mark.exists():
            shutil.rmtree(blobs, ignore_errors=True)
        elif blobs.exists() and any(blobs.rglob("*")):
            raise InputError(
                "restore.not_empty",
                f"{blobs} holds files already. Restore into an empty home folder.",
            )

    def begin(self, backup: str) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.mark.write_text(backup, encoding="utf-8")

    @contextmanager
    def receiving(self, name: str) -> Iterator[Path]:
        target = self.home / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield target
        target.chmod(0o600)

    def finish(self) -> None:
        self.mark.unlink()


class BucketStore:
    """The bucket of the settings. The home folder is marked as well: both go together."""

    def __init__(self, home: Path, found: Bucket) -> None:
        self.home, self.bucket, self.at_home = home, found, HomeStore(home)
        self._folders: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)

    def files(self) -> Iterator[Lying]:
        whole = {
            each.name.removesuffix(f"/{WHOLE}")
            for each in self.bucket.lying()
            if each.name.endswith(f"/{WHOLE}")
        }
        for each in self.bucket.lying():
            parts = each.name.split("/")
            if len(parts) < FOLDER_PARTS or parts[-1] == WHOLE:
                continue
            if len(parts) == FOLDER_PARTS or "/".join(parts[:FOLDER_PARTS]) in whole:
                reader = partial(self._open, each.name)
                yield Lying(f"{TOP}{each.name}", each.size, each.mark, reader)

    def _open(self, name: str) -> BinaryIO:
        found = self.bucket.open(name)
        if found is None:
            raise InternalError("bucket.gone", "An object is gone.", name=name)
        return found

    def require_empty(self) -> None:
        self.at_home.require_empty()
        if self.bucket.holds(UNFINISHED_MARK):
            self.bucket.delete(*[e.name for e in self.bucket.lying() if e.name != UNFINISHED_MARK])
        elif next(self.bucket.lying(), None) is not None:
            raise InputError(
                "restore.not_empty",
                "The bucket holds objects below S3_PREFIX already. Restore below an empty one.",
            )

    def begin(self, backup: str) -> None:
        self.at_home.begin(backup)
        self.bucket.put(UNFINISHED_MARK, backup.encode())

    @contextmanager
    def receiving(self, name: str) -> Iterator[Path]:
        aside = self.home / f".{secrets.token_hex(8)}"
        inside = name.removeprefix(TOP)
        try:
            yield aside
            self.bucket.put(inside, aside)
            tenant, kind, digest, *rest = inside.split("/")
            if rest:
                self._folders[tenant, kind, digest]["/".join(rest)] = aside.stat().st_size
        finally:
            aside.unlink(missing_ok=True)

    def finish(self) -> None:
        for (tenant, kind, digest), sizes in self._folders.items():
            BucketBlobs(self.home, tenant).finish_folder(kind, digest, sizes)
        self.bucket.delete(UNFINISHED_MARK)
        self.at_home.finish()


def opened(path: Path) -> BinaryIO:
    return path.open("rb")


def store_of(home: Path) -> Store:
    """Where the settings say that files lie. Raises InputError("bucket.settings")."""
    found = bucket()
    return BucketStore(home, found) if found else HomeStore(home)
