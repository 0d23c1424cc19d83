"""How much of a limit is used, and who is refused: the one way of every limit.

A person's own limit, that of each of their groups and the tenant's all count, and beside them what
the site allows; what is used up refuses. Groups and tenants share one budget. Questions and tokens
are counted in Valkey; without it everybody is let through: an outage of the counter is no reason to
refuse. Accelerator time and storage are measured in rows, by the apps that keep them, which tell
how (`measured`). Knows no run and no file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import redis
import structlog
from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.accounts.models import Quota
from apps.tenants.models import Group, GroupMember
from calm_engine.errors import InputError
from counterpoint import live
from counterpoint.database.kept import Kept

if TYPE_CHECKING:
    from uuid import UUID

    from apps.accounts.models import User

log = structlog.get_logger(__name__)

Kind = Quota.Kind
DAY = 86_400
# Seconds after which a counter of Valkey begins anew.
PERIODS = {Kind.REQUESTS: 60, Kind.TOKENS: DAY}


@dataclass(frozen=True)
class Meter:
    """How an app measures a kind, in the unit of the kind.

    used    by these people since a moment; by everybody of the tenant for None
    site    what the site allows the tenant, and what it has used of that; None: no limit
    anew    whether it begins anew each month
    """

    used: Callable[[Sequence[UUID] | None, datetime], int]
    site: Callable[[], tuple[int, int] | None]
    anew: bool


_meters: dict[str, Meter] = {}


def measured(kind: str, meter: Meter) -> None:
    """Say how a kind is measured; called once, when the app that keeps it is ready."""
    _meters[kind] = meter


@dataclass(frozen=True)
class Budget:
    """One limit of one person as it stands now.

    renews  seconds until it begins anew; 0 for what never does
    """

    kind: str
    amount: int
    whom: str
    used: int
    renews: int

    @property
    def left(self) -> int:
        return max(0, self.amount - self.used)

    @property
    def limit(self) -> str:
        """The limit in words, as in "5000 megabytes stored"."""
        return f"{self.amount} {Kind(self.kind).label}"


def budgets(user: User, kinds: Sequence[str] = Kind.values) -> list[Budget]:
    """Every limit that binds this person in the tenant in scope; the site's come last."""
    return own(user, kinds) + [each for kind in kinds if (each := of_the_site(kind))]


def own(user: User, kinds: Sequence[str]) -> list[Budget]:
    """The limits that the tenant's curators set and that bind this person."""
    return _budgets(limits_of(user, kinds))


def _budgets(rows: Sequence[Quota]) -> list[Budget]:
    used = counted([key_of(row) for row in rows if row.kind in PERIODS])
    found = []
    for row in rows:
        spent = used.pop(0) if row.kind in PERIODS else _meters[row.kind].used(*whose(row))
        found.append(Budget(row.kind, row.amount, whom(row), spent, renews(row.kind)))
    return found


def limits_of(user: User, kinds: Sequence[str]) -> list[Quota]:
    return [each for each in _limits(user=user) if each.kind in kinds]


def _binding(user: User) -> QuerySet[Quota]:
    groups = Group.objects.filter(members=user)
    mine = Q(user=user) | Q(group__in=groups) | Q(user=None, group=None)
    rows: QuerySet[Quota] = Quota.objects.filter(mine).select_related("group")
    return rows


_limits = Kept(_binding)  # asked with every question


def of_the_site(kind: str) -> Budget | None:
    """What whoever runs the server allows the whole tenant; nobody in it can change that.

    It is held where it is measured: a run waits until its tenant has time again.
    """
    meter = _meters.get(kind)
    told = meter.site() if meter else None
    if told is None:
        return None
    amount, used = told
    return Budget(kind, amount, "everybody together, set by the site", used, renews(kind))


def whom(row: Quota) -> str:
    if row.user_id:
        return "you"
    return row.group.name if row.group else "everybody together"


def whose(row: Quota) -> tuple[Sequence[UUID] | None, datetime]:
    """The people whose use counts towards a limit, and since when."""
    people = None
    if row.user_id:
        people = [row.user_id]
    elif row.group_id:
        members = GroupMember.objects.filter(group=row.group_id)
        people = list(members.values_list("user", flat=True))
    return people, month() if _meters[row.kind].anew else datetime.min.replace(tzinfo=UTC)


def refusal(user: User, *kinds: str, more: int = 1) -> Budget | None:
    """The limit of the tenant's own that `more` would overstep and that lasts longest, or None."""
    return overstepped(limits_of(user, kinds), more=more)


def overstepped(limits: Sequence[Quota], *, more: int = 1) -> Budget | None:
    """The same of limits that were read already."""
    over = [each for each in _budgets(limits) if each.used + more > each.amount]
    return max(over, key=lambda budget: budget.renews, default=None)


def require(user: User, *kinds: str, more: int = 1) -> None:
    """Raises InputError: "quota.used" (limit=, whom=, minutes=), or "quota.lasting" for what never
    begins anew by itself."""
    found = refusal(user, *kinds, more=more)
    if found is None:
        return
    if not found.renews:
        raise InputError("quota.lasting", limit=found.limit, whom=found.whom, left=found.left)
    minutes = math.ceil(found.renews / 60)
    raise InputError("quota.used", limit=found.limit, whom=found.whom, minutes=minutes)


def spend(user: User, kind: str, amount: int = 1) -> None:
    """Count questions or tokens towards every limit that binds the person. Never fails."""
    if amount:
        count(limits_of(user, [kind]), kind, amount)


def count(limits: Sequence[Quota], kind: str, amount: int = 1) -> None:
    """Count towards those of a kind among limits that were read already. Never fails."""
    rows = [row for row in limits if row.kind == kind] if amount else []
    if not rows:
        return
    try:
        with live.quick().pipeline(transaction=False) as pipe:
            for row in rows:
                pipe.incrby(key_of(row), amount)
                pipe.expire(key_of(row), PERIODS[Kind(row.kind)] + 60)
            pipe.execute()
    except redis.RedisError as error:
        log.warning("quota.uncounted", error=type(error).__name__)


def renews(kind: str) -> int:
    """Seconds until a limit of this kind begins anew; 0 for never."""
    if lasts := PERIODS.get(Kind(kind)):
        return lasts - int(time.time()) % lasts
    if not _meters[kind].anew:
        return 0
    following = (month() + timedelta(days=32)).replace(day=1)
    return math.ceil((following - timezone.now()).total_seconds())


def month() -> datetime:
    """The first moment of this month, where the site is."""
    now = timezone.localtime()
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def key_of(row: Quota) -> str:
    """One counter per limit and period; the tenant stands first, as in every key."""
    period = int(time.time()) // PERIODS[Kind(row.kind)]
    return live.key(f"quota:{row.pk}:{period}", row.tenant_id)


def counted(keys: Sequence[str]) -> list[int]:
    if not keys:
        return []
    try:
        return [int(value or 0) for value in live.quick().mget(keys)]
    except redis.RedisError as error:
        log.warning("quota.uncounted", error=type(error).__name__)
        return [0] * len(keys)
