"""Django's PostgreSQL backend, naming the tenant of the context to PostgreSQL in each transaction.

The setting is local to the transaction: after commit a pooled connection carries nobody's name. It
is sent before the first query and whenever the context has changed since, so nested scopes need
nothing of their own. Outside a transaction nothing is sent, and row-level security shows no row.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.backends.postgresql import base

from counterpoint.database import current_tenant_id


class DatabaseWrapper(base.DatabaseWrapper):
    """Tells row-level security whose query this is.

    Three of the methods below are private to Django: tests/apps/tenants/test_scope.py pins them.
    """

    named: UUID | str | None = None  # what PostgreSQL was told in this transaction; "?" when unsure

    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)  # type: ignore[misc]  # private to Django
        self.named = None  # a transaction begins or has ended: nobody is named

    def _savepoint_rollback(self, sid: str) -> None:
        # A failed transaction takes no other statement first; afterwards an older name may stand.
        self.named = current_tenant_id.get()
        super()._savepoint_rollback(sid)  # type: ignore[misc]  # as above
        self.named = "?"

    def create_cursor(self, name: str | None = None) -> Any:
        if self.in_atomic_block and current_tenant_id.get() != self.named:
            self._name_tenant(current_tenant_id.get())
        return super().create_cursor(name)

    def _name_tenant(self, tenant_id: UUID | None) -> None:
        with self.wrap_database_errors, self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('app.tenant', %s, true)", [str(tenant_id) if tenant_id else ""]
            )
        self.named = tenant_id
