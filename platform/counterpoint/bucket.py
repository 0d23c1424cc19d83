"""The bucket that the settings name: objects that are whole or absent, in any service of S3.

Knows no tenant, no key and no kind of file. A process that forks after it has asked a bucket may
not ask again in the child (the runtime beneath does not survive a fork): workers ask in their
children alone, and `may_be_used` asks in a process of its own.
"""

from __future__ import annotations

import io
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from django.conf import settings

from calm_engine.errors import EngineError, InputError, InternalError
from counterpoint import outbound
from counterpoint.seeking import Seekable

if TYPE_CHECKING:
    from obstore.store import S3Store

PIECE = 4 << 20  # bytes asked for at once; an object that is no longer comes with one request
PATIENCE = timedelta(seconds=30)  # without a byte
LONGEST = timedelta(hours=6)  # for one object, however large
PROBE = "probe"
UNFINISHED_MARK = "restore-unfinished"  # while a restore into the bucket is under way


@dataclass(frozen=True)
class Named:
    """Where a bucket is and who we are there, as the settings say it."""

    bucket: str
    endpoint: str
    region: str
    prefix: str
    key_id: str
    secret: str = field(repr=False)
    ca_file: str = ""
    path_style: bool = True


@dataclass(frozen=True)
class Lying:
    """One object: its name below the prefix, its length in bytes, another mark once rewritten."""

    name: str
    size: int
    mark: str


class Bucket:
    """Objects below the prefix. Raises InternalError("bucket.away"), InputError("bucket.refused").

    The latter names the act: "read", "write", "list", "delete".
    """

    def __init__(self, named: Named) -> None:
        self._named = named

    def put(self, name: str, source: Path | bytes) -> None:
        """Store these bytes under a name, at once for all who look, or not at all."""
        with told("write"):
            self._store().put(name, source)

    def open(self, name: str) -> io.BufferedReader | io.BytesIO | None:
        """The bytes, one can seek in them; None when there is no such object."""
        with told("read"):
            store = self._store()
            try:
                first = store.get(name, options={"range": (0, PIECE)})
            except FileNotFoundError:
                return None
            size, mark = first.meta["size"], first.meta["e_tag"]
            if size <= PIECE:
                return io.BytesIO(bytes(first.bytes()))
        return io.BufferedReader(Ranges(store, name, size, mark), PIECE)

    def size(self, name: str) -> int | None:
        """Its length in bytes; None when there is no such object."""
        with told("read"):
            try:
                return int(self._store().head(name)["size"])
            except FileNotFoundError:
                return None

    def holds(self, name: str) -> bool:
        return self.size(name) is not None

    def fetch(self, name: str, target: BinaryIO) -> int:
        """Write an object's bytes to `target`; how many. Raises InternalError("bucket.gone")."""
        with told("read"):
            try:
                pieces = self._store().get(name).stream(PIECE)
                return sum(target.write(bytes(piece)) for piece in pieces)
            except FileNotFoundError as error:
                raise InternalError("bucket.gone", "An object is gone.", name=name) from error

    def lying(self, prefix: str = "") -> Iterator[Lying]:
        """Every object below a prefix, in the order of their names."""
        with told("list"):
            for batch in self._store().list(prefix or None, chunk_size=1000):
                for meta in batch:
                    mark = meta.get("e_tag") or meta["last_modified"].isoformat()
                    yield Lying(meta["path"], meta["size"], mark)

    def children(self, prefix: str) -> tuple[list[str], list[str]]:
        """The last parts of the names directly below a prefix: objects, and what has more below."""
        with told("list"):
            found = self._store().list_with_delimiter(prefix)
        objects = [each["path"].rpartition("/")[2] for each in found["objects"]]
        folders = [each.rstrip("/").rpartition("/")[2] for each in found["common_prefixes"]]
        return sorted(objects), sorted(folders)

    def delete(self, *names: str) -> None:
        """Forget objects; what is not there is forgotten already."""
        for name in names:
            with told("delete"):
                try:
                    self._store().delete(name)
                except FileNotFoundError:
                    continue

    def prove(self) -> None:
        """Write, list, read and delete one small object. Raises as the class says."""
        name, words = f"{PROBE}/{secrets.token_hex(8)}", secrets.token_bytes(32)
        self.put(name, words)
        try:
            listed = [each.name for each in self.lying(PROBE)]
            file = self.open(name)
            if name not in listed or file is None or file.read() != words:
                raise InternalError("bucket.away", "It does not give back what was written.")
        finally:
            self.delete(name)

    def reach(self) -> None:
        """Ask for what is not there: the service answers and knows us. Raises as the class says."""
        self.size(f"{PROBE}/none")

    def _store(self) -> S3Store:
        return connected(self._named)


class Ranges(Seekable):
    """One long object, read in pieces; another one in its place is noticed, and not mixed in."""

    def __init__(self, store: S3Store, name: str, size: int, mark: str | None) -> None:
        self._store, self._name, self.size, self._mark = store, name, size, mark

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self.size)
        if end <= self._at:
            return 0
        options: dict[str, Any] = {"range": (self._at, end)}
        if self._mark:
            options["if_match"] = self._mark
        with told("read"):
            piece = bytes(self._store.get(self._name, options=options).bytes())  # type: ignore[arg-type]  # a TypedDict
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def bucket() -> Bucket | None:
    """The site's bucket; None where files lie in the home folder. Raises as `named`."""
    found = named()
    return Bucket(found) if found else None


def named() -> Named | None:
    """What the settings say of a bucket. Raises InputError("bucket.settings"): what is lacking."""
    if not settings.S3_BUCKET:
        return None
    wanted = ("S3_ENDPOINT", "S3_KEY_ID", "S3_SECRET")
    if lacking := [name for name in wanted if not getattr(settings, name)]:
        raise InputError(
            "bucket.settings", f"S3_BUCKET is set, and {' and '.join(lacking)} is not."
        )
    if settings.S3_CA_FILE and not Path(settings.S3_CA_FILE).is_file():
        raise InputError("bucket.settings", "S3_CA_FILE names a file that is not there.")
    return Named(
        settings.S3_BUCKET,
        settings.S3_ENDPOINT,
        settings.S3_REGION,
        settings.S3_PREFIX.strip("/"),
        settings.S3_KEY_ID,
        settings.S3_SECRET,
        settings.S3_CA_FILE,
        settings.S3_PATH_STYLE,
    )


@cache
def connected(named: Named) -> S3Store:
    """One client for a process. Raises InputError("bucket.settings"), OSError."""
    from obstore.store import S3Store  # noqa: PLC0415  for those who have a bucket

    parts = urlsplit(named.endpoint)
    is_plain = parts.scheme == "http"
    found = outbound.resolved(parts.hostname or "", parts.port or (80 if is_plain else 443))
    if is_plain and not found.is_loopback:
        raise InputError("bucket.settings", "S3_ENDPOINT must be https.")
    trusted = Path(named.ca_file).read_bytes() if named.ca_file else None
    return S3Store(
        named.bucket,
        prefix=named.prefix or None,
        endpoint=named.endpoint,
        region=named.region,
        access_key_id=named.key_id,
        secret_access_key=named.secret,
        virtual_hosted_style_request=not named.path_style,
        client_options={
            "allow_http": is_plain,
            "connect_timeout": timedelta(seconds=5),
            "read_timeout": PATIENCE,
            "timeout": LONGEST,
            **({"root_certificate": trusted} if trusted else {}),
        },
        retry_config={
            "max_retries": 3,
            "retry_timeout": PATIENCE,
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        },
    )


@contextmanager
def told(act: str) -> Iterator[None]:
    """Turn the client's errors into ours: their words may hold an address with its signature."""
    from obstore.exceptions import (  # noqa: PLC0415  for those who have a bucket
        BaseError,
        PermissionDeniedError,
        UnauthenticatedError,
    )

    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError, FileNotFoundError) as error:
        raise refused(act, type(error).__name__) from None
    except (BaseError, OSError) as error:
        raise InternalError(
            "bucket.away", "The bucket does not answer.", act=act, why=type(error).__name__
        ) from None


def refused(act: str, why: str) -> InputError:
    return InputError(
        "bucket.refused", f"The bucket does not let us {act} ({why}).", act=act, why=why
    )


def may_be_used() -> EngineError | None:
    """What is wrong with the bucket, found out by another process; None when all is well.

    That process writes, lists, reads and deletes one object, so that this one may still fork.
    """
    try:
        if named() is None:
            return None
    except InputError as error:
        return error
    done = subprocess.run(
        [sys.executable, "-m", "counterpoint.bucket"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    kind = InputError if done.returncode == 2 else InternalError
    code, _, words = (done.stdout.strip() or "bucket.away:").partition(":")
    return kind(code, words.strip() or "The bucket does not answer.")


def main() -> int:
    """Prove the bucket of the settings; say the code and the words of what is wrong."""
    try:
        found = bucket()
        if found is not None:
            found.prove()
            if found.holds(UNFINISHED_MARK):
                raise InputError(
                    "bucket.unfinished",
                    "A restore into the bucket began and did not end: run it again.",
                )
    except EngineError as error:
        sys.stdout.write(f"{error.code}: {error.message}\n")
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
