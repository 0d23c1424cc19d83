"""Counts of rows that stay quick however many there are: a page cares for the first thousand."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

COUNTED = 1000  # rows counted out; beyond it a count says "more than"


def counted(*many: QuerySet[Any]) -> list[int]:
    """How many rows each of these has, up to one more than COUNTED; one question for all."""
    parts: list[str] = []
    values: list[Any] = []
    for rows in many:
        try:
            sql, given = rows.order_by().values("pk")[: COUNTED + 1].query.sql_with_params()
        except EmptyResultSet:  # nothing can be in it
            parts.append("0")
        else:
            parts.append(f"(SELECT COUNT(*) FROM ({sql}) AS rows)")  # noqa: S608  Django's own words
            values += given
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        return list(cursor.fetchone())


def said(count: int) -> str:
    """A count for people: beyond COUNTED it says so."""
    return f"{COUNTED:,}+" if count > COUNTED else f"{count:,}"
