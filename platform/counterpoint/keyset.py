"""Pages of a list, each found by the row where the one before it ended.

The thousandth page costs what the first does, and rows that come or go meanwhile shift nothing, as
they do where rows are counted off (`OFFSET`). A page's key is the values that its list is sorted
by: it stays good when the row itself is gone, and says nothing but what the page showed.
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Generic, TypeVar

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Field, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

T = TypeVar("T")
LONGEST = 2_000  # characters of a key; a longer one is nobody's


@dataclass(frozen=True)
class Order:
    """One way to sort a list.

    name    its word in an address
    label   what people call it
    fields  as `order_by` takes them: none is ever null, and the last tells any two rows apart
    """

    name: str
    label: str | Promise
    fields: tuple[str, ...]


NEWEST = Order("new", _("newest"), ("-created_at", "pk"))
OLDEST = Order("old", _("oldest"), ("created_at", "pk"))


@dataclass
class Page(Generic[T]):
    """Some rows, and the keys of the pages around them: "" where there is none.

    order, orders   what it is sorted by, and what it could be
    """

    rows: list[T]
    before: str = ""
    after: str = ""
    order: Order | None = None
    orders: Sequence[Order] = field(default_factory=tuple)

    @property
    def is_part(self) -> bool:
        """Whether the list has other pages."""
        return bool(self.before or self.after)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def page_of(rows: QuerySet[Any], told: Mapping[str, Any], *orders: Order, size: int) -> Page[Any]:
    """The page of these rows that an address asks for by `sort`, `after` and `before`.

    A key that is none, or behind which nothing stands any more, gives the first page.
    """
    order = chosen(orders, told)
    fields = [_Sorted.of(rows, name) for name in order.fields]
    after, before = (_read(fields, told.get(name)) for name in ("after", "before"))
    is_back = bool(before and not after)
    sought = [each.reversed() for each in fields] if is_back else fields
    wanted = _behind(rows.order_by(*(each.words for each in sought)), sought, after or before)
    shown = list(wanted[: size + 1])
    if not shown and (after or before):
        return page_of(rows, {"sort": order.name}, *orders, size=size)
    has_more, shown = len(shown) > size, shown[:size]
    if is_back:
        shown.reverse()
    ends = [_key(fields, row) for row in (*shown[:1], *shown[-1:])]
    around = _around(ends, has_more if is_back else bool(after), is_back or has_more)
    return Page(shown, *around, order, orders)


def page_among(
    items: Sequence[T],
    told: Mapping[str, Any],
    key: Callable[[T], tuple[Any, ...]],
    *,
    size: int,
    skipped: int = 0,
) -> Page[T]:
    """The same of a list that is at hand, sorted by its keys: words and numbers.

    skipped   items before the page that is shown where the address asks for none
    """
    after, before = (tuple(_values(told.get(name))) for name in ("after", "before"))
    keys = [key(each) for each in items]
    try:
        if after:
            start = bisect_right(keys, after)
        elif before:
            start = max(0, bisect_left(keys, before) - size)
        else:
            start = skipped
    except TypeError:  # a key of another list
        start = skipped
    start = start if start < len(items) else 0
    shown = list(items[start : start + size])
    ends = [_token(list(each)) for each in keys[start : start + size]]
    return Page(shown, *_around(ends, start > 0, start + size < len(items)))


def chosen(orders: Sequence[Order], told: Mapping[str, Any]) -> Order:
    """The order that an address asks for, else the first."""
    return next((each for each in orders if each.name == told.get("sort")), orders[0])


def _around(ends: Sequence[str], has_before: bool, has_after: bool) -> tuple[str, str]:
    if not ends:
        return "", ""
    return ends[0] if has_before else "", ends[-1] if has_after else ""


# ---- keys ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sorted:
    """One field of an order: its path, its kind, and whether it falls."""

    path: str
    kind: Field[Any, Any]
    falls: bool

    @classmethod
    def of(cls, rows: QuerySet[Any], words: str) -> _Sorted:
        path = words.removeprefix("-")
        return cls(path, _kind(rows, path), words.startswith("-"))

    @property
    def words(self) -> str:
        return f"-{self.path}" if self.falls else self.path

    def reversed(self) -> _Sorted:
        return _Sorted(self.path, self.kind, not self.falls)

    def value(self, row: Any) -> Any:
        return attrgetter(self.path.replace("__", "."))(row)


def _kind(rows: QuerySet[Any], path: str) -> Field[Any, Any]:
    """The field at the end of a path, or what an annotation gives."""
    if path in rows.query.annotations:
        found: Field[Any, Any] = rows.query.annotations[path].output_field
        return found
    model: Any = rows.model
    *through, last = path.split("__")
    for name in through:
        model = model._meta.get_field(name).related_model
    try:
        kind: Field[Any, Any] = model._meta.pk if last == "pk" else model._meta.get_field(last)
    except FieldDoesNotExist as error:
        raise ValueError(f"no list is sorted by {path}") from error
    return kind


def _behind(rows: QuerySet[Any], fields: Sequence[_Sorted], edge: list[Any]) -> QuerySet[Any]:
    """Those that come after the edge in the order of these fields."""
    if not edge:
        return rows
    behind, alike = Q(), Q()
    for each, value in zip(fields, edge, strict=True):
        further = "lt" if each.falls else "gt"
        behind |= alike & Q(**{f"{each.path}__{further}": value})
        alike &= Q(**{each.path: value})
    # What the first field alone allows lets an index find its place; the rest keeps ties apart.
    first = fields[0]
    return rows.filter(**{f"{first.path}__{'lte' if first.falls else 'gte'}": edge[0]}).filter(
        behind
    )


def _key(fields: Sequence[_Sorted], row: Any) -> str:
    return _token([each.kind.get_prep_value(each.value(row)) for each in fields])


def _token(values: list[Any]) -> str:
    words = json.dumps(values, default=str, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(words.encode()).decode().rstrip("=")


def _values(token: Any) -> list[Any]:
    """What a key says; nothing when it is none."""
    if not isinstance(token, str) or not token or len(token) > LONGEST:
        return []
    try:
        told = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return []
    return told if isinstance(told, list) else []


def _read(fields: Sequence[_Sorted], token: Any) -> list[Any]:
    values = _values(token)
    if len(values) != len(fields) or not all(isinstance(v, (str, int, float)) for v in values):
        return []
    try:
        read = [each.kind.to_python(v) for each, v in zip(fields, values, strict=True)]
    except (ValidationError, ValueError, TypeError, OverflowError):
        return []
    return [] if any("\0" in v for v in read if isinstance(v, str)) else read
