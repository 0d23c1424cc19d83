"""Keys in two levels: a site key wraps one data key per tenant, and that one seals what is stored.

The site key lies in a file or in Vault, never in the database; the data keys lie wrapped in the
table of `DataKey`. Every ciphertext names the version of its key, so both levels are rotated while
the site runs. Deleting a tenant's data keys makes all that they sealed unreadable for ever.
Knows no file and no model but that one table.

AES-256-GCM: NIST SP 800-38D. Keys of single objects: HKDF-SHA256, RFC 5869.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Collection
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.apps import apps
from django.conf import settings
from django.db import connection, transaction

from calm_engine.errors import InternalError
from counterpoint.database import current_tenant_id
from counterpoint.sitekeys import FileKeys, SiteKeys, VaultKeys

MARK = b"cpk1"  # begins everything that `seal` made
VERSION_BYTES, NONCE_BYTES, KEY_BYTES = 4, 12, 32
REMEMBERED_SECONDS = 30.0  # how long a deleted key may still open something in another process


@dataclass(frozen=True)
class DataKey:
    """One version of a tenant's key. `secret` never enters a log: it is left out of `repr`."""

    tenant_id: UUID
    version: int
    secret: bytes = field(repr=False)

    def for_object(self, name: str) -> bytes:
        """A key of 32 bytes for one object alone, so that its frames may count their nonces."""
        about = f"{self.tenant_id}|{self.version}|{name}".encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=about).derive(self.secret)


@cache
def site_keys() -> SiteKeys:
    """What wraps data keys here, as SITE_KEYS says."""
    if settings.SITE_KEYS == "vault":
        return VaultKeys(settings.VAULT_ADDR, settings.VAULT_TOKEN, settings.VAULT_KEY)
    return FileKeys(settings.SITE_KEY)


# ---- the tenant in scope -------------------------------------------------------------------------


def newest() -> DataKey:
    """The key that writes. A tenant that has none yet gets its first.

    Raises InternalError("key.no_tenant") outside a tenant scope.
    """
    tenant_id = tenant_in_scope()
    if found := _remembered.get(tenant_id, None):
        return found
    if _row(None) is None:
        # Committed by itself: what it seals may outlive the transaction at hand.
        _apart(make_first)
    return _remembered.put(_opened(_row(None), None), is_newest=True)


def named(version: int) -> DataKey:
    """The key of something sealed. Raises InternalError("key.gone") when it was deleted."""
    return _remembered.get(tenant_in_scope(), version) or _remembered.put(
        _opened(_row(version), version)
    )


def seal(plain: bytes, *, about: str) -> bytes:
    """These bytes, sealed for the tenant in scope. `about` says what they are, such as a column.

    It is bound to them: what is moved to another place or tenant does not open there.
    """
    key, nonce = newest(), secrets.token_bytes(NONCE_BYTES)
    head = MARK + key.version.to_bytes(VERSION_BYTES, "big")
    return head + nonce + AESGCM(key.secret).encrypt(nonce, plain, bound_to(head, about))


def unseal(sealed: bytes, *, about: str) -> bytes:
    """What was sealed. Raises InternalError: "key.sealed" when it was changed, "key.gone"."""
    at = len(MARK) + VERSION_BYTES
    head, nonce, rest = sealed[:at], sealed[at : at + NONCE_BYTES], sealed[at + NONCE_BYTES :]
    if not head.startswith(MARK) or not rest:
        raise damaged(about)
    key = named(int.from_bytes(head[len(MARK) :], "big"))
    try:
        return AESGCM(key.secret).decrypt(nonce, rest, bound_to(head, about))
    except InvalidTag:
        raise damaged(about) from None


def version_in(sealed: bytes) -> int:
    """Which data key made this. Raises InternalError("key.sealed") for what `seal` did not."""
    at = len(MARK) + VERSION_BYTES
    if not sealed.startswith(MARK) or len(sealed) <= at + NONCE_BYTES:
        raise damaged("something sealed")
    return int.from_bytes(sealed[len(MARK) : at], "big")


def bound_to(head: bytes, about: str) -> bytes:
    return head + f"|{tenant_in_scope()}|{about}".encode()


def damaged(about: str) -> InternalError:
    return InternalError("key.sealed", "Something sealed does not open.", about=about)


# ---- making, rotating, destroying ----------------------------------------------------------------


def make_first() -> None:
    """The first data key of the tenant in scope, in the transaction at hand; a second call: none.

    Called when a tenant is opened, so that no tenant is without one.
    """
    with transaction.atomic():
        if _row(None) is None:
            _add(1)


def rotate_data_key() -> int:
    """Another data key, which writes from now on; older ones go on reading. Its version."""
    with transaction.atomic():
        last = _rows().select_for_update().order_by("-version").first()
        version = last.version + 1 if last else 1
        _add(version)
    transaction.on_commit(lambda: forget())
    return version


def rewrap() -> int:
    """Wrap data keys anew where another site key did; how many. Sealed data stays as it is."""
    site, moved = site_keys(), 0
    for row in _rows().exclude(wrapped_by=site.key_id()):
        secret = site.unwrap(row.wrapped_by, bytes(row.wrapped), about_key(row.version))
        wrapped_by, wrapped = site.wrap(secret, about_key(row.version))
        here = _rows().filter(pk=row.pk, wrapped_by=row.wrapped_by)
        moved += here.update(wrapped_by=wrapped_by, wrapped=wrapped)
    return moved


def drop_former(in_use: Collection[int], *, before: datetime) -> list[int]:
    """Delete data keys that nothing is sealed under any more; their versions.

    A key that wrote until `before` or later stays: what it was writing may not have its name yet.
    """
    with transaction.atomic():
        rows = list(_rows().select_for_update().order_by("version"))
        followed = {row.version: after.created_at for row, after in pairwise(rows)}
        free = [each for each in followed if followed[each] < before and each not in in_use]
        _rows().filter(version__in=free).delete()
    forget()
    return free


def shred() -> int:
    """Delete every data key of the tenant in scope: what they sealed is unreadable. How many."""
    count: int = _rows().delete()[0]
    forget()
    return count


# ---- beneath -------------------------------------------------------------------------------------


def tenant_in_scope() -> UUID:
    tenant_id = current_tenant_id.get()
    if tenant_id is None:
        raise InternalError("key.no_tenant", "A key was asked for outside a tenant scope.")
    return tenant_id


def about_key(version: int) -> bytes:
    """What a wrapped key is bound to: it opens for no other tenant and in no other's place."""
    return f"data-key|{tenant_in_scope()}|{version}".encode()


def _rows() -> Any:
    return apps.get_model("tenants", "DataKey").objects.all()


def _row(version: int | None) -> Any:
    with transaction.atomic():  # without a transaction row-level security shows nothing
        found = _rows() if version is None else _rows().filter(version=version)
        return found.order_by("-version").first()


def _add(version: int) -> None:
    wrapped_by, wrapped = site_keys().wrap(secrets.token_bytes(KEY_BYTES), about_key(version))
    _rows().create(version=version, wrapped_by=wrapped_by, wrapped=wrapped)


def _opened(row: Any, version: int | None) -> DataKey:
    if row is None:
        raise InternalError("key.gone", "The key of stored data is gone.", version=version)
    secret = site_keys().unwrap(row.wrapped_by, bytes(row.wrapped), about_key(row.version))
    return DataKey(tenant_in_scope(), row.version, secret)


def _apart(function: Any) -> None:
    """Run this in a transaction of its own, on a connection of its own, in the tenant's scope."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001  told to whoever waits, below
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=copy_context().run, args=(run,), name="first-data-key")
    thread.start()
    thread.join()
    if failed and _row(None) is None:  # else another process was first, and its key is the key
        raise failed[0]


class _Memory:
    """Opened keys, for a short time: a page of many files asks the site key once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[UUID, int | None], tuple[float, DataKey]] = {}

    def get(self, tenant_id: UUID, version: int | None) -> DataKey | None:
        until, key = self._kept.get((tenant_id, version), (0.0, None))
        return key if time.monotonic() < until else None

    def put(self, key: DataKey, *, is_newest: bool = False) -> DataKey:
        until = time.monotonic() + REMEMBERED_SECONDS
        self._kept[key.tenant_id, key.version] = (until, key)
        if is_newest:
            self._kept[key.tenant_id, None] = (until, key)
        return key

    def clear(self) -> None:
        self._kept.clear()


_remembered = _Memory()


def forget() -> None:
    """Drop what this process remembers of keys."""
    _remembered.clear()
