"""What may be stored: by the site's rule for a tenant, and by the limits that its curators set.

The tenant's account is charged with the row that keeps a file, never before. What a person or a
group keeps is the sum of the rows of what they brought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.db import connection
from django.db.models import F, Sum
from django.db.models.functions import Greatest

from apps.accounts import quotas
from apps.accounts.models import Quota
from apps.corpora.models import ItemState, StorageUse, UploadItem
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User

MEGABYTE = 1 << 20
STORAGE = quotas.Kind.STORAGE


@dataclass(frozen=True)
class Room:
    """How many bytes still fit, and how a file that does not fit is refused."""

    left: int
    code: str
    facts: dict[str, Any]

    def less(self, size: int) -> Room:
        return replace(self, left=max(0, self.left - size))

    def refusal(self, size: int) -> InputError:
        return InputError(self.code, **self.facts, size=f"{-(-size // MEGABYTE)} MB")


def use() -> StorageUse:
    """The account of the tenant in scope."""
    account, _is_new = StorageUse.objects.get_or_create()
    return cast("StorageUse", account)


def room(by: User) -> Room | None:
    """The narrowest limit of this person; None when nothing but the disk bounds them."""
    found = [room_of(row) for row in quotas.limits_of(by, [STORAGE])]
    account = use()
    if account.limit is not None:
        left = max(0, account.limit - account.used)
        found.append(Room(left, "quota.full", {"limit": f"{account.limit // MEGABYTE} MB"}))
    return min(found, key=lambda each: each.left, default=None)


def room_of(row: Quota) -> Room:
    people, since = quotas.whose(row)
    left = max(0, row.amount * MEGABYTE - stored(people, since))
    limit = f"{row.amount} {row.get_kind_display()}"
    facts = {"limit": limit, "whom": quotas.whom(row), "left": left // MEGABYTE}
    return Room(left, "quota.lasting", facts)


def charge(size: int, *, by: User) -> None:
    """Count `size` more bytes of what this person brings.

    Raises InputError: "quota.full", "quota.lasting"; then nothing is counted. Of two uploads that
    both saw room for themselves, the second is refused.
    """
    limits = quotas.limits_of(by, [STORAGE]) if size else []
    if limits:
        one_at_a_time()
    for each in map(room_of, limits):
        if size > each.left:
            raise each.refusal(size)
    account = use()
    rows = StorageUse.objects.filter(pk=account.pk)
    if account.limit is not None:
        rows = rows.filter(used__lte=account.limit - size)
    if size and rows.update(used=F("used") + size) == 0:
        limit = f"{(account.limit or 0) // MEGABYTE} MB"
        raise Room(0, "quota.full", {"limit": limit}).refusal(size)


def one_at_a_time() -> None:
    """Until the transaction ends: sums of rows do not refuse the second of two by themselves."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 13))", [str(use().tenant_id)]
        )


def refund(size: int) -> None:
    """Count `size` bytes less: the tenant had them already, or they were deleted."""
    StorageUse.objects.filter(pk=use().pk).update(used=Greatest(F("used") - size, 0))


# ---- measuring -----------------------------------------------------------------------------------


def stored(people: Sequence[UUID] | None, _since: datetime) -> int:
    """Bytes of originals that these people brought, or of the whole tenant."""
    if people is None:
        return use().used
    kept = UploadItem.objects.filter(upload__by__in=people).exclude(digest="")
    found = kept.exclude(state=ItemState.DUPLICATE).aggregate(bytes=Sum("size"))["bytes"]
    return int(found or 0)


def megabytes(people: Sequence[UUID] | None, since: datetime) -> int:
    return -(-stored(people, since) // MEGABYTE)


def of_the_site() -> tuple[int, int] | None:
    """What the site allows the tenant and what it uses, in megabytes."""
    account = use()
    if account.limit is None:
        return None
    return account.limit // MEGABYTE, -(-account.used // MEGABYTE)


METER = quotas.Meter(used=megabytes, site=of_the_site, anew=False)
