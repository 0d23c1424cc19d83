"""How much is asked and answered in a tenant, by day: counts alone, and no word of anybody."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Count, IntegerField, Q, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, TruncDate
from django.utils import timezone

from apps.chat.models import Message, Role

DAYS = 30
EPOCH = date(1970, 1, 1)


def by_day(days: int = DAYS) -> dict[str, list[list[int]]]:
    """Questions, and tokens read and written, of each of the last days: [[days since 1970, n]].

    Days are those of the site; one without a question counts none.
    """
    today = timezone.localdate()
    first = today - timedelta(days=days - 1)
    since = timezone.make_aware(datetime.combine(first, datetime.min.time()))
    rows: Any = Message.objects.filter(created_at__gte=since.astimezone(UTC)).order_by()
    tokens = Cast(KeyTextTransform("total_tokens", "usage"), IntegerField())
    told = (
        rows.annotate(day=TruncDate("created_at"))
        .values_list("day")
        .annotate(asked=Count("pk", filter=Q(role=Role.USER)), spent=Sum(tokens))
    )
    found = {day: (asked, spent or 0) for day, asked, spent in told}
    every = [first + timedelta(days=number) for number in range(days)]
    counted = [((day - EPOCH).days, *found.get(day, (0, 0))) for day in every]
    return {
        "questions": [[day, asked] for day, asked, _spent in counted],
        "tokens": [[day, spent] for day, _asked, spent in counted],
    }
