"""How much of a limit is used: counters in Valkey, limits in rows. Knows no model and no request.

A person's own limit, that of each of their groups and that of the tenant all count; the first that
is used up refuses. Groups and tenants share one budget. Without the broker everybody is let
through: an outage of the counter is no reason to refuse.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis
import structlog
from django.db.models import Q

from apps.accounts.models import Quota
from apps.tenants.models import Group
from calm_engine.errors import InputError
from counterpoint import live

if TYPE_CHECKING:
    from apps.accounts.models import User

log = structlog.get_logger(__name__)

Kind = Quota.Kind
DAY = 86_400
# Seconds after which a counter begins anew; nothing stored ever does.
PERIODS = {Kind.REQUESTS: 60, Kind.TOKENS: DAY, Kind.GPU_MINUTES: 30 * DAY, Kind.STORAGE: 0}


@dataclass(frozen=True)
class Budget:
    """One limit of one person as it stands now.

    renews  seconds until the counter begins anew; 0 for what never does
    """

    quota: Quota
    used: int
    renews: int

    @property
    def left(self) -> int:
        return max(0, self.quota.amount - self.used)

    @property
    def whom(self) -> str:
        if self.quota.user_id:
            return "you"
        return self.quota.group.name if self.quota.group else "everybody together"


def budgets(user: User, kinds: Sequence[str] = Kind.values) -> list[Budget]:
    """Every limit that binds this person in the tenant in scope."""
    groups = Group.objects.filter(members=user)
    mine = Q(user=user) | Q(group__in=groups) | Q(user=None, group=None)
    rows = list(Quota.objects.filter(mine, kind__in=kinds).select_related("group"))
    return [
        Budget(row, used, renews(row.kind))
        for row, used in zip(rows, counted([key_of(row) for row in rows]), strict=True)
    ]


def refusal(user: User, *kinds: str, more: int = 1) -> Budget | None:
    """The first limit that `more` would overstep, or None."""
    over = [each for each in budgets(user, kinds) if each.used + more > each.quota.amount]
    return max(over, key=lambda budget: budget.renews, default=None)


def require(user: User, *kinds: str, more: int = 1) -> None:
    """Raises InputError("quota.used", limit=, whom=, minutes=) when a limit is used up."""
    found = refusal(user, *kinds, more=more)
    if found is not None:
        minutes = math.ceil(found.renews / 60)
        limit = f"{found.quota.amount} {found.quota.get_kind_display()}"
        raise InputError("quota.used", limit=limit, whom=found.whom, minutes=minutes)


def spend(user: User, kind: str, amount: int = 1) -> None:
    """Count this towards every limit that binds the person. Never fails."""
    rows = [each.quota for each in budgets(user, [kind])] if amount else []
    if not rows:
        return
    try:
        with live.counters() as client, client.pipeline(transaction=False) as pipe:
            for row in rows:
                pipe.incrby(key_of(row), amount)
                if lasts := PERIODS[Kind(row.kind)]:
                    pipe.expire(key_of(row), lasts + 60)
            pipe.execute()
    except redis.RedisError as error:
        log.warning("quota.uncounted", error=type(error).__name__)


def renews(kind: str) -> int:
    lasts = PERIODS[Kind(kind)]
    return lasts - int(time.time()) % lasts if lasts else 0


def key_of(row: Quota) -> str:
    """One counter per limit and period; the tenant stands first, as in every key."""
    lasts = PERIODS[Kind(row.kind)]
    period = int(time.time()) // lasts if lasts else 0
    return live.key(f"quota:{row.pk}:{period}", row.tenant_id)


def counted(keys: Sequence[str]) -> list[int]:
    if not keys:
        return []
    try:
        with live.counters() as client:
            return [int(value or 0) for value in client.mget(keys)]
    except redis.RedisError as error:
        log.warning("quota.uncounted", error=type(error).__name__)
        return [0] * len(keys)
