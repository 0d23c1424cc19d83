"""Tenants as a command names them. Knows no page and no request."""

from __future__ import annotations

from django.core.management.base import CommandError

from apps.tenants.models import Tenant


def tenant_named(slug: str) -> Tenant:
    """The tenant with this short name. Raises CommandError when there is none."""
    found = Tenant.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"There is no tenant {slug!r}.")
    return found


def tenants_named(slug: str | None) -> list[Tenant]:
    """That one, or all where none is named. Raises CommandError as `tenant_named` does."""
    return [tenant_named(slug)] if slug else list(Tenant.objects.all())
