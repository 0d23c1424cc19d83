"""Django's PostgreSQL backend, naming the tenant to PostgreSQL whenever a transaction opens.

The setting is local to the transaction: after commit a pooled connection carries nobody's name.
"""

from __future__ import annotations

from uuid import UUID

from django.db.backends.postgresql import base

from counterpoint.database import current_tenant_id


class DatabaseWrapper(base.DatabaseWrapper):
    """Tells row-level security whose transaction this is; none set means no rows."""

    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)  # type: ignore[misc]  # private to Django; a test pins it
        if not autocommit:
            self.name_tenant(current_tenant_id.get())

    def name_tenant(self, tenant_id: UUID | None) -> None:
        """Set the tenant of the open transaction. The driver's cursor: Django's would be logged."""
        with self.wrap_database_errors, self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('app.tenant', %s, true)", [str(tenant_id) if tenant_id else ""]
            )
