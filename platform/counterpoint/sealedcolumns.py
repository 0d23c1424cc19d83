"""Short secrets inside rows, sealed under the tenant's key and bound to their row and column.

Such a column is text and begins with a mark; what an older release wrote in plain has none, is read
as it is and sealed by `reseal`. Works for the tenant in scope.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.apps import apps
from django.db import models, transaction

from counterpoint import keys

MARK = "sealed:"
# Every column of this kind: app, model, column.
COLUMNS = (("runs", "webhook", "secret"),)


def sealed(text: str, row: models.Model, column: str) -> str:
    """What is to stand in the column. `row` has its id already."""
    made = keys.seal(text.encode(), about=about(row, column))
    return MARK + base64.b64encode(made).decode()


def opened(row: models.Model, column: str) -> str:
    """What the column says. Raises InternalError: "key.sealed", "key.gone"."""
    held = str(getattr(row, column))
    if not held.startswith(MARK):
        return held
    return keys.unseal(bytes_of(held, about(row, column)), about=about(row, column)).decode()


def version(held: str) -> int | None:
    """Which data key sealed this; None for what lies plain."""
    return keys.version_in(bytes_of(held, "a column")) if held.startswith(MARK) else None


def held() -> list[tuple[Any, str]]:
    """Every row with such a column, and the column's name."""
    with transaction.atomic():  # without one row-level security shows nothing
        return [
            (row, column)
            for app, model, column in COLUMNS
            for row in apps.get_model(app, model).objects.all()
        ]


def reseal(wanted: int) -> int:
    """Seal under this data key what lies plain or under an older one; how many."""
    moved = 0
    for row, column in held():
        before = getattr(row, column)
        if version(before) == wanted:
            continue
        anew = sealed(opened(row, column), row, column)
        with transaction.atomic():
            here = type(row).objects.filter(**{"pk": row.pk, column: before})
            moved += here.update(**{column: anew})
    return moved


def bytes_of(held: str, what: str) -> bytes:
    try:
        return base64.b64decode(held.removeprefix(MARK), validate=True)
    except binascii.Error:
        raise keys.damaged(what) from None


def about(row: models.Model, column: str) -> str:
    return f"{row._meta.db_table}.{column}|{row.pk}"
