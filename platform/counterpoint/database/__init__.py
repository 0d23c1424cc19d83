"""PostgreSQL for Django, and the tenant of the current context. Knows no model and no policy."""

from __future__ import annotations

from contextvars import ContextVar
from uuid import UUID

current_tenant_id: ContextVar[UUID | None] = ContextVar("tenant", default=None)
