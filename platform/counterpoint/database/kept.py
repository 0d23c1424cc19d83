"""Queries that are asked at every door: written once, kept, and sent with other values.

Django takes longer to write a large query than PostgreSQL to answer it. A kept one comes from the
one query set that says it, with marks where values go: it is no second wording of a right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model, QuerySet
from django.db.models.query import ModelIterable

from counterpoint.database import current_tenant_id

M = TypeVar("M", bound=Model)
Value = Model | UUID | str

TENANT = "the tenant in scope"


@dataclass(frozen=True)
class _Place:
    """Stands among the parameters where the value of this name goes."""

    name: str


@dataclass(frozen=True)
class _Written:
    """A query set as SQL. The compiler knows how its columns become objects."""

    compiler: Any
    sql: str
    parameters: tuple[object, ...]

    def names(self) -> set[str]:
        return {each.name for each in self.parameters if isinstance(each, _Place)}


class Kept(Generic[M]):
    """The objects of one query set, for other values each time; those of the tenant in scope.

    says   makes the query set from named values: rows, ids or words. It is called once, with
           stand-ins: nothing in it may depend on what a value is, only on where it goes

    Stands on how Django's compiler and iterable work together: tests/counterpoint/test_kept.py.
    """

    def __init__(self, says: Callable[..., QuerySet[M]]) -> None:
        self._says = says
        self._written: _Written | None = None

    def __call__(self, **values: Value) -> list[M]:
        """Raises ValueError for a value that the query set does not ask for."""
        written = self._written = self._written or _write(self._says, values)
        tenant = current_tenant_id.get()
        if tenant is None and TENANT in written.names():
            return []  # as the query set itself
        given = {name: _plain(value) for name, value in values.items()} | {TENANT: tenant}
        return list(_objects(written, given))


def _write(says: Callable[..., QuerySet[M]], values: Mapping[str, Value]) -> _Written:
    marks = {name: _stand_in(value) for name, value in values.items()}
    places = {name: _plain(mark) for name, mark in marks.items()} | {TENANT: uuid4()}
    scope = current_tenant_id.set(places[TENANT])
    try:
        compiler = says(**marks).query.get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
    finally:
        current_tenant_id.reset(scope)
    written = _Written(compiler, sql, tuple(_placed(each, places) for each in parameters))
    if lost := marks.keys() - written.names():
        raise ValueError(f"The query set does not ask for {', '.join(sorted(lost))}.")
    return written


def _stand_in(value: Value) -> Value:
    if isinstance(value, Model):
        return value._meta.model(pk=uuid4())  # `request.user` is of another type than its model
    return uuid4() if isinstance(value, UUID) else uuid4().hex


def _plain(value: Value) -> Any:
    return value.pk if isinstance(value, Model) else value


def _placed(parameter: object, places: Mapping[str, object]) -> object:
    return next((_Place(name) for name, mark in places.items() if mark == parameter), parameter)


def _objects(written: _Written, given: Mapping[str, object]) -> ModelIterable[Any]:
    """What Django makes of the rows that this SQL brings with these values."""
    parameters = tuple(
        given[each.name] if isinstance(each, _Place) else each for each in written.parameters
    )
    compiler = copy(written.compiler)
    compiler.connection = connections[DEFAULT_DB_ALIAS]  # this thread's own
    compiler.as_sql = lambda: (written.sql, parameters)
    query = SimpleNamespace(get_compiler=lambda using: compiler)  # noqa: ARG005  Django's name
    rows: Any = SimpleNamespace(db=DEFAULT_DB_ALIAS, query=query, _known_related_objects={})
    return ModelIterable(rows)
