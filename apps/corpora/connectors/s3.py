"""A prefix of a bucket that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from apps.corpora.connectors.found import Found
from calm_engine.errors import InputError
from counterpoint import outbound

if TYPE_CHECKING:
    from obstore.store import S3Store

PATIENCE = "30s"  # for one request


class Bucket:
    """Every object below a prefix.

    key_file, secret_file   files with the access key's id and its secret
    endpoint                of the service; only such a one that we may send to is asked
    """

    def __init__(
        self,
        bucket: str,
        endpoint: str,
        key_file: str,
        secret_file: str,
        prefix: str = "",
        region: str = "us-east-1",
    ) -> None:
        self.bucket, self.prefix, self.region = bucket, prefix.strip("/"), region
        self.endpoint, self.key_file, self.secret_file = endpoint, key_file, secret_file

    def files(self) -> Iterator[Found]:
        try:
            for batch in self._store().list(chunk_size=1000):
                for meta in batch:
                    mark = meta.get("e_tag") or meta["last_modified"].isoformat()
                    yield Found(meta["path"], meta["size"], mark[:200])
        except _errors() as error:
            raise unreachable(error) from error

    def read(self, found: Found) -> Iterator[bytes]:
        try:
            for piece in self._store().get(found.path).stream():
                yield bytes(piece)
        except _errors() as error:
            raise unreachable(error) from error

    def _store(self) -> S3Store:
        from obstore.store import S3Store  # noqa: PLC0415 - for those who have a bucket

        parts = urlsplit(self.endpoint)
        try:
            found = outbound.resolved(parts.hostname or "", parts.port or 443)
            key = Path(self.key_file).read_text(encoding="utf-8").strip()
            secret = Path(self.secret_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise unreachable(error) from error
        is_plain = parts.scheme == "http"
        if is_plain and not found.is_loopback:
            raise InputError("source.unreachable", why="the endpoint must be https")
        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            endpoint=self.endpoint,
            region=self.region,
            access_key_id=key,
            secret_access_key=secret,
            virtual_hosted_style_request=False,
            client_options={"allow_http": is_plain, "timeout": PATIENCE},
            retry_config={"max_retries": 2},
        )


def _errors() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    return (BaseError, OSError)


def unreachable(error: Any) -> InputError:
    """Only the kind of the error goes on: its words may hold the address with its signature."""
    return InputError("source.unreachable", why=type(error).__name__)
