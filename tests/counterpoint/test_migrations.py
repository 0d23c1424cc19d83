"""Expand, then contract one release later: the former release's code runs on the new database.

So a migration of a released app may add and loosen, and must not remove, rename or tighten what the
former release still reads or leaves empty. What a release has contracted on purpose stands in
CONTRACTED, with the release after which nobody reads it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import models
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration

from counterpoint.release import FORMER

CONTRACTED: dict[str, str] = {}  # "app.migration": "why, and the last release that read it"
CONTRACTS = (ops.DeleteModel, ops.RemoveField, ops.RenameField, ops.RenameModel)


def faults(migration: Migration) -> Iterator[str]:
    """What in this migration the former release would stumble over."""
    made = {op.name.lower() for op in migration.operations if isinstance(op, ops.CreateModel)}
    for operation in migration.operations:
        on = str(getattr(operation, "model_name", getattr(operation, "name", ""))).lower()
        if on in made:
            continue  # a table of its own: nobody knew it
        if isinstance(operation, CONTRACTS):
            yield f"{type(operation).__name__} of {on} takes away what the former release reads"
        elif isinstance(operation, ops.AddField) and must_be_given(operation.field):
            yield f"AddField {on}.{operation.name} must be given, and the former release will not"


def must_be_given(field: models.Field[object, object]) -> bool:
    """Whether an insert that does not know this column fails."""
    has_column = not field.many_to_many
    has_database_default = field.db_default is not models.NOT_PROVIDED
    return has_column and not field.null and not has_database_default


def of(*operations: ops.base.Operation) -> Migration:
    made = Migration("0002_x", "corpora")
    made.operations = list(operations)
    return made


@pytest.mark.parametrize(
    ("operation", "is_fault"),
    [
        (ops.AddField("corpus", "note", models.TextField(null=True)), False),
        (ops.AddField("corpus", "note", models.TextField(db_default="")), False),
        (ops.AddField("corpus", "note", models.TextField(default="")), True),
        (ops.RemoveField("corpus", "name"), True),
        (ops.RenameField("corpus", "name", "title"), True),
        (ops.DeleteModel("corpus"), True),
        (ops.AddIndex("corpus", models.Index(fields=["name"], name="i")), False),
    ],
)
def test_the_rule_sees_what_the_former_release_would_stumble_over(
    operation: ops.base.Operation, is_fault: bool
) -> None:
    assert bool(list(faults(of(operation)))) is is_fault


def test_a_new_table_is_nobodys_worry() -> None:
    made = ops.CreateModel("thing", [("id", models.AutoField(primary_key=True))])
    added = ops.AddField("thing", "name", models.TextField())
    assert list(faults(of(made, added))) == []


def test_every_migration_since_the_former_release_expands() -> None:
    loader = MigrationLoader(None)
    assert set(FORMER.items()) <= set(loader.disk_migrations)
    since = {
        f"{app}.{name}": each
        for (app, name), each in loader.disk_migrations.items()
        if name > FORMER.get(app, name)
    }
    found = {name: list(faults(each)) for name, each in since.items()}
    assert {name: told for name, told in found.items() if told and name not in CONTRACTED} == {}
