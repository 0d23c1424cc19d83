"""The files of one tenant in a bucket: `{prefix}/{tenant}/{kind}/{sha256}`, sealed as on disk.

An object appears at once, so a name that exists is whole. Of an adopted folder each file is an
object, and `.whole` is written after them: before it, nobody sees the folder. The home folder holds
what is on its way, and a copy of each folder of weights that was asked for: they are mapped into
memory, which wants a file. Knows no model, and not who may read.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from counterpoint import sealedfiles
from counterpoint.bucket import Bucket, Lying, bucket
from counterpoint.disk import disk_full_is_told, flush_folder, require_space, settle, writing_aside
from counterpoint.storage import (
    SEALED,
    SUFFIX,
    Blobs,
    Opened,
    damaged,
    is_stored,
    missing,
    name_of,
    pieces,
    seal_folder,
)

WHOLE = ".whole"  # of a folder: its files and their lengths, written last


class BucketBlobs(Blobs):
    """The files of one tenant, in the bucket of the settings."""

    def __init__(self, home: Path, tenant_id: UUID | str) -> None:
        self.root = home / "blobs" / str(tenant_id)
        self.tenant = str(tenant_id)
        found = bucket()
        assert found is not None  # the settings name one: `blobs` asks before
        self.bucket: Bucket = found

    # ---- as `Blobs` ------------------------------------------------------------------------------

    def name(self, aside: Path, kind: str, digest: str) -> None:
        self.bucket.put(self.key(kind, digest), aside)

    def raw(self, kind: str, name: str) -> Opened:
        found = self.bucket.open(self.key(kind, name))
        if found is None:
            raise missing(kind, name)
        return found

    def exists(self, kind: str, digest: str) -> bool:
        return self.bucket.holds(self.key(kind, name_of(digest))) or self.is_adopted(kind, digest)

    def names(self, kind: str) -> list[str]:
        files, folders = self.bucket.children(self.key(kind))
        whole = [each for each in folders if is_stored(each) and self.is_adopted(kind, each)]
        return sorted([each for each in files if is_stored(each)] + whole)

    def within(self, kind: str, digest: str) -> list[str]:
        top = self.key(kind, name_of(digest))
        found = (each.name.removeprefix(f"{top}/") for each in self.bucket.lying(f"{top}/"))
        return sorted(each.removesuffix(SUFFIX) for each in found if each != WHOLE)

    def path(self, kind: str, digest: str) -> Path:
        """A copy of an adopted folder on this machine, made when it is first asked for.

        Raises InternalError: "blob.missing", "blob.damaged"; InputError("disk.full").
        """
        target = self.kind_folder(kind) / name_of(digest)
        whole = self.manifest(kind, digest)
        if whole is None:
            shutil.rmtree(target, ignore_errors=True)  # deleted by another machine
            raise missing(kind, digest)
        if not target.is_dir():
            self.copy_here(kind, digest, whole, target)
        return target

    def delete(self, kind: str, digest: str) -> None:
        top = self.key(kind, name_of(digest))
        # Its sign first: what is left of a deletion that broke off is nobody's folder.
        self.bucket.delete(f"{top}/{WHOLE}", top)
        self.bucket.delete(*[each.name for each in self.bucket.lying(f"{top}/")])
        super().delete(kind, digest)

    def adopt_folder(self, kind: str, folder: Path, digest: str) -> Path:
        if kind in SEALED and not self.is_adopted(kind, digest):
            with disk_full_is_told(folder):
                seal_folder(folder, kind, digest)
        if not self.is_adopted(kind, digest):
            self.send_folder(kind, folder, digest)
        if kind in SEALED:  # read from the bucket, file by file: no copy is kept
            shutil.rmtree(folder)
            return folder
        return super().adopt_folder(kind, folder, digest)

    # ---- what a bucket has beside ----------------------------------------------------------------

    def key(self, kind: str, name: str = "") -> str:
        self.require_kind(kind)
        return f"{self.tenant}/{kind}/{name}".rstrip("/")

    def is_adopted(self, kind: str, digest: str) -> bool:
        return self.bucket.holds(f"{self.key(kind, digest)}/{WHOLE}")

    def manifest(self, kind: str, digest: str) -> dict[str, int] | None:
        """Length by name, of an adopted folder."""
        file = self.bucket.open(f"{self.key(kind, digest)}/{WHOLE}")
        if file is None:
            return None
        found: dict[str, int] = json.loads(file.read())
        return found

    def send_folder(self, kind: str, folder: Path, digest: str) -> None:
        """Every file of a folder, then the sign that it is whole."""
        files = sorted(each for each in folder.rglob("*") if each.is_file())
        for path in files:
            name = path.relative_to(folder).as_posix()
            self.bucket.put(f"{self.key(kind, digest)}/{name}", path)
        self.finish_folder(
            kind, digest, {p.relative_to(folder).as_posix(): p.stat().st_size for p in files}
        )

    def finish_folder(self, kind: str, digest: str, sizes: dict[str, int]) -> None:
        self.bucket.put(f"{self.key(kind, digest)}/{WHOLE}", json.dumps(sizes).encode())

    def copy_here(self, kind: str, digest: str, whole: dict[str, int], target: Path) -> None:
        """Bring a folder; another process that was first has brought the same."""
        require_space(target.parent, sum(whole.values()))
        aside = target.parent / f".{secrets.token_hex(8)}"
        try:
            for name, size in whole.items():
                place = aside / name
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with disk_full_is_told(target.parent), place.open("xb") as file:
                    place.chmod(0o600)
                    if self.bucket.fetch(f"{self.key(kind, digest)}/{name}", file) != size:
                        raise damaged(kind, f"{digest}/{name}")
                    settle(file)
            with suppress(OSError):  # it is there already
                aside.rename(target)
            flush_folder(target.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    # ---- sealing again ---------------------------------------------------------------------------

    def sealed(self) -> Iterator[tuple[str, str]]:
        """Kind and name of every object of the sealed kinds."""
        for kind in sorted(SEALED):
            top = self.key(kind)
            for each in self.bucket.lying(f"{top}/"):
                name = each.name.removeprefix(f"{top}/")
                if not name.endswith(WHOLE):
                    yield kind, name

    def key_version(self, kind: str, name: str) -> int | None:
        with self.raw(kind, name) as source:
            head = sealedfiles.peek(source)
        return sealedfiles.version_in(head) if head else None

    def reseal(self, kind: str, name: str, wanted: int) -> int:
        """1 when an object was sealed anew. FileNotFoundError: it was deleted meanwhile."""
        if self.key_version(kind, name) == wanted:
            return 0
        called, digest = name.removesuffix(SUFFIX), name.partition("/")[0]
        inside = called.partition("/")[2]
        opened = self.open_within(kind, digest, inside) if inside else self.open(kind, digest)
        with opened as plain, writing_aside(self.kind_folder(kind)) as (target, aside):
            told, _size = sealedfiles.write(target, pieces(plain), kind=kind, name=called)
            settle(target)
            if not inside and told != digest:
                raise damaged(kind, name)
            if not self.bucket.holds(self.key(kind, name)):
                raise FileNotFoundError(name)  # deleted meanwhile: it must not come back
            self.bucket.put(self.key(kind, name), aside)
            if inside:
                self.measure(kind, digest, name.partition("/")[2], aside.stat().st_size)
        return 1

    def measure(self, kind: str, digest: str, name: str, size: int) -> None:
        """A file of an adopted folder has another length now."""
        self.finish_folder(kind, digest, (self.manifest(kind, digest) or {}) | {name: size})


def take_in(home: Path, *, say: Any) -> int:
    """Bring what the home folder holds into the bucket; how many files were brought.

    What is brought leaves the home folder, but for weights, whose copies are used. Broken off, it
    goes on; nobody may serve meanwhile (`counterpoint.E010` sees to it).
    """
    brought, told_at = 0, time.monotonic()
    for root in sorted(each for each in (home / "blobs").glob("*") if each.is_dir()):
        store = BucketBlobs(home, root.name)
        for path in sorted(each for each in root.glob("*/*") if is_stored(each.name)):
            kind, digest = path.parent.name, path.name
            if path.is_dir():
                if not store.is_adopted(kind, digest):
                    store.send_folder(kind, path, digest)
                    brought += 1
                if kind in SEALED:
                    shutil.rmtree(path)
                continue
            if store.bucket.size(store.key(kind, digest)) != path.stat().st_size:
                store.bucket.put(store.key(kind, digest), path)
                brought += 1
            path.unlink()
            if time.monotonic() - told_at > 10:
                told_at = time.monotonic()
                say(f"{brought} brought")
    return brought


def left_at_home(home: Path) -> bool:
    """Whether sealed files still lie in the home folder, where nobody looks for them any more."""
    return any(
        is_stored(path.name) for kind in SEALED for path in (home / "blobs").glob(f"*/{kind}/*")
    )


def of_tenant(tenant_id: UUID | str) -> Iterator[Lying]:
    """Every object of a tenant; none where files lie in the home folder."""
    if (found := bucket()) is not None:
        yield from found.lying(f"{tenant_id}/")


def drop_tenant(tenant_id: UUID | str) -> int:
    """Delete everything of a tenant; how many objects."""
    names = [each.name for each in of_tenant(tenant_id)]
    if names and (found := bucket()) is not None:
        found.delete(*names)
    return len(names)
