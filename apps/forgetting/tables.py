"""Which tables hold rows of a tenant, as PostgreSQL itself says. Knows no model and no page.

Asked of the catalogue, so that a table made tomorrow is neither left out of an export nor left
behind by a deletion.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection

SQL_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
 WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') ORDER BY c.relname
"""
SQL_SEALED = """
SELECT DISTINCT t.tgrelid::regclass::text FROM pg_trigger t
 WHERE NOT t.tgisinternal AND t.tgtype & 8 <> 0
"""  # 8: fires on DELETE, as the trigger of every append-only table does
SQL_POINTS = """
SELECT DISTINCT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint
 WHERE contype = 'f' AND connamespace = 'public'::regnamespace
"""

SQL_PEOPLE = """
SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint c
  JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
 WHERE c.contype = 'f' AND c.confrelid = 'accounts_user'::regclass AND c.conrelid <> c.confrelid
   AND NOT EXISTS (SELECT 1 FROM pg_attribute t
                    WHERE t.attrelid = c.conrelid AND t.attname = 'tenant_id')
 ORDER BY 1, 2
"""


def of_people() -> list[tuple[str, str]]:
    """Tables of no tenant whose rows are one person's, with the column that names the person."""
    return [(str(table), str(column)) for table, column in asked(SQL_PEOPLE)]


def tables_of_tenants() -> list[str]:
    """Every table with a column `tenant_id`."""
    return [str(name) for (name,) in asked(SQL_TABLES)]


def kept_by_their_owner(tables: list[str]) -> set[str]:
    """Those that only their owner can empty: append-only ones, and what their rows point at."""
    pointed: dict[str, set[str]] = {}
    for source, target in asked(SQL_POINTS):
        pointed.setdefault(str(source), set()).add(str(target))
    found: set[str] = set()
    waiting = [str(name) for (name,) in asked(SQL_SEALED)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += pointed.get(name, ())
    return found & set(tables)


def counts(tables: list[str], tenant_id: UUID) -> dict[str, int]:
    """Rows of the tenant in scope by table; those that have none are left out."""
    found = {table: count(table, tenant_id) for table in tables}
    return {table: rows for table, rows in found.items() if rows}


def count(table: str, tenant_id: UUID) -> int:
    ((rows,),) = asked(f'SELECT count(*) FROM "{table}" WHERE tenant_id = %s', tenant_id)  # noqa: S608  a name of the catalogue
    return int(rows)


def asked(statement: str, *values: UUID) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(values))
        return list(cursor.fetchall())
