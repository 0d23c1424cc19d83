"""What a tenant's originals may weigh. Charged with the row that keeps them, never before."""

from __future__ import annotations

from typing import cast

from django.db.models import F
from django.db.models.functions import Greatest

from apps.corpora.models import StorageUse
from calm_engine.errors import InputError


def use() -> StorageUse:
    """The account of the tenant in scope."""
    account, _is_new = StorageUse.objects.get_or_create()
    return cast("StorageUse", account)


def room() -> int | None:
    """Bytes that still fit; None when there is no quota."""
    account = use()
    return None if account.limit is None else max(0, account.limit - account.used)


def charge(size: int) -> None:
    """Count `size` more bytes. Raises InputError("quota.full") and counts nothing past the quota.

    One statement: of two uploads that both saw room for themselves, the second is refused.
    """
    account = use()
    rows = StorageUse.objects.filter(pk=account.pk)
    if account.limit is not None:
        rows = rows.filter(used__lte=account.limit - size)
    if size and rows.update(used=F("used") + size) == 0:
        raise InputError("quota.full", **words_for(account, size))


def refund(size: int) -> None:
    """Count `size` bytes less: the tenant had them already, or they were deleted."""
    StorageUse.objects.filter(pk=use().pk).update(used=Greatest(F("used") - size, 0))


def words_for(account: StorageUse, size: int) -> dict[str, str]:
    """The facts of a refusal, in megabytes."""
    limit = account.limit or 0
    return {"limit": f"{limit >> 20} MB", "size": f"{-(-size >> 20)} MB"}
